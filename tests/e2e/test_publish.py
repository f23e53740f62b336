"""Publishing beside a real Triton: publishers and the server are killed, and the old release serves on."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ensemble import contract
from ensemble.errors import RacksortError
from ensemble.evaluation.scoring import Tensors
from ensemble.evaluation.triton_scorer import TritonScorer
from ensemble.releases import staging
from ensemble.releases.layout import Release, numbers_in, release_in
from ensemble.releases.object_publish import publish_object
from ensemble.releases.object_store import open_store
from ensemble.releases.publish import Publisher, publish
from ensemble.releases.verify import verify
from ensemble.releases.withdraw import withdraw
from ensemble.runtime import model_control
from ensemble.runtime.canary import Canary
from tests.conftest import REPOSITORY
from tests.plain_triton import PlainTriton
from tests.s3_server import CREDENTIALS, s3_server
from tests.unit.releases.killed import kill_at
from tests.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


@pytest.fixture(scope="module")
def candidate(tmp_path_factory: pytest.TempPathFactory) -> Release:
    """The committed release, as release 2."""
    folder = tmp_path_factory.mktemp("candidate")
    publish(release_in(REPOSITORY), folder, Publisher("0.1.0"), number=2)
    return release_in(folder)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository in which the committed release serves."""
    folder = tmp_path_factory.mktemp("live")
    publish(release_in(REPOSITORY), folder, Publisher("0.1.0"))
    return folder


@pytest.fixture(scope="module")
def server(repository: Path) -> Iterator[PlainTriton]:
    with PlainTriton(repository) as server:
        yield server


def some_rows() -> Tensors:
    """Sixteen customers of the release's own data, each with 128 candidates."""
    rng = np.random.default_rng(0)
    rows = {}
    for spec in contract.ENSEMBLE_INPUTS:
        shape = (16, *(128 if size == contract.N else size for size in spec.dims))
        rows[spec.name] = rng.random(shape).astype(spec.dtype)
    rows[contract.CUSTOMER_ID.name] = np.arange(1, 17)[:, None]
    rows[contract.PRODUCT_ID.name] = rng.permutation(np.arange(1_000_000, 1_000_000 + 16 * 128)).reshape(16, 128)
    rows[contract.CATEGORY_ID.name] = rng.integers(1, 300, (16, 128), np.int32)
    rows[contract.CONTEXTS.name][:, 0] = 17_490
    return rows


def until_ranks(server: PlainTriton, release: int) -> None:
    """Wait for a healthy answer of a server that may be starting."""
    canary = Canary(server.address, release)
    try:
        until(lambda: canary.check(5), lambda verdict: verdict.healthy, every_s=0.05, explain=server.log_tail)
    finally:
        canary.close()


@pytest.mark.parametrize(
    "last",
    [
        "noted",
        "copied product_pool/2/model.onnx",
        "staged",
        "moved category_affinity/2",
        "moved ranking/2",
        "moved personalize_v2",
    ],
)
def test_a_killed_publisher_and_a_killed_server_leave_the_old_release_serving(
    repository: Path, candidate: Release, server: PlainTriton, last: str
) -> None:
    until_ranks(server, 1)
    kill_at("publish", last, repository, candidate.repository)
    until_ranks(server, 1)
    server.restart()  # killed at once, started again on what is there
    until_ranks(server, 1)
    assert numbers_in(repository) == ([1, 2] if last == "moved personalize_v2" else [1])
    publish(candidate, repository, Publisher("0.1.0"))
    assert staging.left_behind(repository) == []
    verify(release_in(repository, 2))
    withdraw(repository, 2)
    verify(release_in(repository, 1))


def test_a_renumbered_release_is_loaded_beside_the_live_one_and_ranks_the_same(
    repository: Path, candidate: Release, server: PlainTriton
) -> None:
    until_ranks(server, 1)
    publish(candidate, repository, Publisher("0.1.0"))
    model_control.reload(server.address, (), (contract.ensemble_name(2),), 60)
    until_ranks(server, 2)
    (old,), (new,) = (list(TritonScorer(server.address, release).rank_all([some_rows()])) for release in (1, 2))
    assert (old.product_id == new.product_id).all()
    assert (old.score == new.score).all()
    withdraw(repository, 2)
    until_ranks(server, 1)
    server.restart()
    until_ranks(server, 1)


def test_a_version_that_keeps_triton_from_starting_is_withdrawn(
    repository: Path, candidate: Release, server: PlainTriton
) -> None:
    until_ranks(server, 1)
    publish(candidate, repository, Publisher("0.1.0"))
    (repository / "product_pool" / "2" / "model.onnx").write_bytes(b"\x00corrupt")  # by whatever the disk did to it
    with pytest.raises(RacksortError, match=r"product_pool/2/model\.onnx: was altered since it was published"):
        verify(release_in(repository, 2))
    server.restart()
    assert server.ends() != 0  # release 1 too: a model with one bad version doesn't load at all
    withdraw(repository, 2)
    server.restart()
    until_ranks(server, 1)


def run_publish(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "racksort", "release", "publish", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)


def test_the_verb_checks_first(tmp_path: Path, repository: Path, candidate: Release) -> None:
    corrupt = Path(shutil.copytree(candidate.repository, tmp_path / "corrupt"))
    model = corrupt / "product_pool" / "2" / "model.onnx"
    model.write_bytes(model.read_bytes()[:100_000])
    before = {path: path.stat().st_mtime_ns for path in repository.rglob("*")}
    options = ("--repository", repository, "--skip", "live,latency,memory,quality")
    refused = run_publish(corrupt, *options)
    assert refused.returncode == 2
    assert "release 2 is refused" in refused.stderr
    assert "product_pool" in refused.stderr.splitlines()[-1]
    assert "Traceback" not in refused.stderr
    assert {path: path.stat().st_mtime_ns for path in repository.rglob("*")} == before
    done = run_publish(candidate.repository, *options)
    assert done.returncode == 0, done.stderr
    extras = release_in(repository, 2).extras_dir
    assert json.loads((extras / "check.json").read_bytes())["passed"]
    assert "Passed, compared with personalize_v1" in (extras / "model-card.md").read_text()
    verify(release_in(repository, 2))
    withdraw(repository, 2)


def test_triton_serves_a_release_from_an_object_store(
    tmp_path: Path, candidate: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with s3_server(tmp_path / "s3.log") as address:
        store = open_store(f"s3://{address}/models/shop")
        store.files.mkdir("models")
        _, url = publish_object(candidate, store, Publisher("0.1.0"))
        with PlainTriton(url, "personalize_v2") as server:
            until_ranks(server, 2)
