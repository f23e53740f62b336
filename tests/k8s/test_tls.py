"""The component triton-tls: both ends have what they need, and nobody gets Triton's own key."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from tests.k8s.manifests import Object, Pod, container, pod, pods, render, variables
from tests.k8s.policies.settings import FILES


@pytest.fixture
def everything() -> list[Object]:
    return render("everything")


def secret_of(of: Pod, path: str) -> tuple[str, str]:
    """The Secret that a path of a pod's one container comes from, and the key."""
    (server,) = of.spec["containers"]
    volumes = {volume["name"]: volume for volume in of.spec["volumes"]}
    folder, key = str(PurePosixPath(path).parent), PurePosixPath(path).name
    (mount,) = [each for each in server["volumeMounts"] if each["mountPath"] == folder]
    assert mount["readOnly"] is True
    return volumes[mount["name"]]["secret"]["secretName"], key


def test_triton_shows_a_certificate_and_asks_for_one(everything: list[Object]) -> None:
    triton = pod(everything, "triton")
    arguments = [each.removeprefix("--") for each in container(everything, "triton")["args"]]
    options = dict(each.split("=", 1) for each in arguments if "=" in each)
    assert options["grpc-use-ssl"] == options["grpc-use-ssl-mutual"] == "true"
    for option, key in (("server-cert", "tls.crt"), ("server-key", "tls.key"), ("root-cert", "ca.crt")):
        assert secret_of(triton, options[f"grpc-{option}"]) == ("racksort-triton-tls", key)


@pytest.mark.parametrize("probe", ["startupProbe", "readinessProbe", "livenessProbe"])
def test_its_probes_ask_as_it_wants_to_be_asked(everything: list[Object], probe: str) -> None:
    command = container(everything, "triton")[probe]["exec"]["command"]
    given = dict(zip(command[4::2], command[5::2], strict=True))
    for option, key in (("ca", "ca.crt"), ("cert", "tls.crt"), ("key", "tls.key")):
        assert secret_of(pod(everything, "triton"), given[f"--tls-{option}"]) == ("racksort-triton-tls", key)
    assert given["--tls-name"] == "racksort-triton"


@pytest.mark.parametrize("component", ["adapter", "precompute"])
def test_who_asks_has_a_certificate_of_its_own(everything: list[Object], component: str) -> None:
    given = variables(everything, container(everything, component))
    for name, key in (("CA", "ca.crt"), ("CERT", "tls.crt"), ("KEY", "tls.key")):
        path = given[f"RACKSORT_TRITON_TLS_{name}"]
        assert secret_of(pod(everything, component), path) == ("racksort-adapter-tls", key)
    assert given["RACKSORT_TRITON_TLS_NAME"] == given["RACKSORT_TRITON"].split(":")[0]


def test_tritons_key_is_mounted_by_triton_alone(everything: list[Object]) -> None:
    holders = {
        each.labels["app.kubernetes.io/component"]
        for each in pods(everything)
        for volume in each.spec.get("volumes", [])
        if volume.get("secret", {}).get("secretName") == "racksort-triton-tls"
    }
    assert holders == {"triton"}


def test_without_the_component_there_is_no_tls() -> None:
    overlay = render("cpu")
    assert not any("ssl" in each for each in container(overlay, "triton")["args"])
    assert not FILES & variables(overlay, container(overlay, "adapter")).keys()
