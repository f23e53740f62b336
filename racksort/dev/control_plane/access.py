"""Certificates and kubeconfig of a control plane that lives for one run, by an authority made for it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import trustme

_NAMES: Final = ("127.0.0.1", "localhost", "kubernetes.default.svc")


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key, as PEM files."""

    cert: Path
    key: Path

    @classmethod
    def write(cls, issued: trustme.LeafCert, folder: Path, name: str) -> Self:
        """Into files called ``name``."""
        pair = cls(folder / f"{name}.crt", folder / f"{name}.key")
        pair.cert.write_bytes(b"".join(part.bytes() for part in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(pair.key)
        return pair


@dataclass(frozen=True, slots=True)
class Access:
    """Files by which the programs know each other."""

    ca: Path
    server: Pair
    admin: Pair
    """A client in the group system:masters, who may do everything."""
    aggregator: Pair
    """By which kube-apiserver shows itself to the API servers that it hands requests on to."""
    accounts: Pair
    """Its key signs the tokens of service accounts."""
    kubeconfig: Path


def prepare(folder: Path, url: str) -> Access:
    """Make them for the API server at ``url``, in a folder that this user alone may read."""
    authority = trustme.CA()
    ca = folder / "ca.crt"
    authority.cert_pem.write_to_path(ca)
    admin = authority.issue_cert("admin", common_name="admin", organization_name="system:masters")
    access = Access(
        ca=ca,
        server=Pair.write(authority.issue_cert(*_NAMES), folder, "server"),
        admin=Pair.write(admin, folder, "admin"),
        aggregator=Pair.write(authority.issue_cert("aggregator", common_name="aggregator"), folder, "aggregator"),
        accounts=Pair.write(authority.issue_cert("accounts"), folder, "accounts"),
        kubeconfig=folder / "kubeconfig",
    )
    access.kubeconfig.write_text(json.dumps(_kubeconfig(access, url)))  # JSON is YAML, too
    return access


def _kubeconfig(access: Access, url: str) -> dict[str, object]:
    name = "simulated"
    user = {"client-certificate": str(access.admin.cert), "client-key": str(access.admin.key)}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "contexts": [{"name": name, "context": {"cluster": name, "user": "admin"}}],
        "clusters": [{"name": name, "cluster": {"server": url, "certificate-authority": str(access.ca)}}],
        "users": [{"name": "admin", "user": user}],
    }
