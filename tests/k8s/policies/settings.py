"""What the pods are told."""

from __future__ import annotations

from unittest import mock

from api.errors import SettingsInvalid
from api.settings import Settings, variable
from tests.k8s.manifests import Object, container, pods, variables

_ADAPTERS = {"adapter", "precompute", "prepare"}
"""Containers that read the settings."""
_SECRETS = {variable(name) for name, field in Settings.model_fields.items() if "SecretStr" in repr(field.annotation)}
FILES = {"ELASTICSEARCH_CA_CERT", *(f"RACKSORT_TRITON_TLS_{name}" for name in ("CA", "CERT", "KEY", "NAME"))}
"""Of the pod, and what makes no sense without them; see test_tls.py."""
_SAMPLES = {
    "RACKSORT_CURSOR_KEYS": "0" * 64,
    "ELASTICSEARCH_API_KEY": "a-key",
    "RACKSORT_VALKEY_URL": "rediss://racksort:a-password@valkey:6379/0",
}


def accepted(objects: list[Object]) -> list[str]:
    """The adapter accepts its environment: every variable exists, and their values fit together."""
    found = []
    for pod in pods(objects):
        for each in pod.containers:
            if each["name"] not in _ADAPTERS:
                continue
            given = {
                name: _SAMPLES[name] if value.startswith("secret:") else value
                for name, value in variables(objects, each).items()
                if name not in FILES
            }
            with mock.patch.dict("os.environ", given, clear=True):
                try:
                    Settings.load()
                except SettingsInvalid as error:
                    found.append(f"{pod.name}: {error}")
            known = {variable(name) for name in Settings.model_fields}
            found += [f"{pod.name}: there is no setting {name}" for name in sorted(given.keys() - known)]
    return found


def secrets_by_reference(objects: list[Object]) -> list[str]:
    """What must stay secret isn't in the manifests."""
    found = [
        f"{each['metadata']['name']}: a Secret is among the manifests" for each in objects if each["kind"] == "Secret"
    ]
    for pod in pods(objects):
        for each in pod.containers:
            given = variables(objects, each)
            found += [
                f"{pod.name}: {name} is written out"
                for name in sorted(given.keys() & _SECRETS)
                if given[name] and not given[name].startswith("secret:")
            ]
    return found


def replicas_agree(objects: list[Object]) -> list[str]:
    """Replicas can open each other's cursors, and what a customer does is known to all of them or to none."""
    given = variables(objects, container(objects, "adapter"))
    found = []
    if not given.get("RACKSORT_CURSOR_KEYS"):
        found.append("each adapter makes cursor keys of its own")
    if given.get("RACKSORT_EVENTS", "embedded") == "embedded":
        found.append("each adapter keeps events of its own")
    return found


def models_cannot_be_changed(objects: list[Object]) -> list[str]:
    """Triton loads what is there at its start; nobody can have it load, unload or replace a model."""
    arguments = container(objects, "triton")["args"]
    wanted = ("--model-control-mode=none", "--allow-http=false", "--disable-auto-complete-config")
    found = [f"Triton runs without {flag}" for flag in wanted if flag not in arguments]
    if any(argument.startswith("--load-model") for argument in arguments):
        found.append("Triton loads models by name, which is a way of explicit control")
    return found
