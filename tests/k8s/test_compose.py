"""The compose file is one, and starts what the manifests start. It isn't run here: there is no container engine."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any, Final
from unittest import mock

import pytest
import yaml
from compose_spec import PyCompose

from api.settings import Settings
from tests.k8s.manifests import ROOT, container, render
from tests.k8s.test_monitoring import promtool

COMPOSE: Final = ROOT / "k8s" / "compose" / "compose.yaml"
ONLY_IN_KUBERNETES: Final = ("--grpc-max-connection-age", "--grpc-restricted-protocol")
"""There is one Triton, and the value is a pod's."""


def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())["services"]
    return found


def test_it_is_a_compose_file() -> None:
    assert set(PyCompose.from_yaml(COMPOSE.read_text()).service_names()) == set(services())


def test_what_is_no_compose_file_is_found() -> None:
    with pytest.raises(ValueError, match="extension key `imag`"):
        PyCompose.from_yaml("services: {adapter: {imag: racksort/adapter:0.1.0}}")


def test_triton_runs_as_in_kubernetes() -> None:
    there = {each for each in container(render("cpu"), "triton")["args"] if not each.startswith(ONLY_IN_KUBERNETES)}
    assert set(services()["triton"]["command"]) == there


def test_the_adapter_accepts_its_settings() -> None:
    with mock.patch.dict("os.environ", services()["adapter"]["environment"], clear=True):
        assert Settings.load().catalog == "elasticsearch"


def test_its_files_are_there_and_its_images_have_versions() -> None:
    for name, service in services().items():
        assert service["image"].partition(":")[2] not in {"", "latest"}, name
        for volume in service.get("volumes", []):
            if volume.startswith("."):
                assert (COMPOSE.parent / volume.split(":")[0]).exists(), volume
        if "build" in service:
            assert (COMPOSE.parent / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
            assert service["read_only"] is True
            assert service["cap_drop"] == ["ALL"]
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name


def test_prometheus_accepts_its_configuration(tmp_path: Path) -> None:
    shutil.copy(ROOT / "k8s" / "monitoring" / "alerts.yaml", tmp_path)
    shutil.copy(COMPOSE.parent / "prometheus.yaml", tmp_path)
    command = [promtool(), "check", "config", tmp_path / "prometheus.yaml"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
