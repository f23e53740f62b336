"""One control plane for all of these tests, with one overlay at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from racksort.dev.control_plane.build import provision
from racksort.dev.control_plane.plane import ControlPlane
from racksort.dev.errors import NotProvisioned
from racksort.progress import progress_bars
from tests.k8s.control_plane.cluster import Cluster
from tests.k8s.control_plane.shop import apply, deploy, furnish


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """With nodes, storage and operators' kinds, and nothing of racksort."""
    program = _program(request)
    with ControlPlane(program) as plane, Cluster(plane) as made:
        furnish(made)
        yield made


@pytest.fixture
def cpu(cluster: Cluster) -> Cluster:
    """With overlay cpu, for tests that only look."""
    deploy(cluster, "cpu")
    return cluster


@pytest.fixture
def altered(cpu: Cluster) -> Iterator[Cluster]:
    """The same for tests that change it: the overlay is applied again afterwards, which puts everything right."""
    yield cpu
    apply(cpu)


def _program(request: pytest.FixtureRequest) -> Path:
    """The control plane's; the tests are skipped where it can't be had, or fail where REQUIRE_CONTROL_PLANE=1 asks."""
    capture = request.config.pluginmanager.getplugin("capturemanager")
    try:
        with capture.global_and_fixture_disabled(), progress_bars() as report:
            return provision(report)
    except NotProvisioned as error:
        if os.environ.get("REQUIRE_CONTROL_PLANE") == "1":
            pytest.fail(f"REQUIRE_CONTROL_PLANE=1: {error}", pytrace=False)
        pytest.skip(str(error))
