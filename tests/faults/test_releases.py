"""Releases come and go under load, on real processes: good ones without a trace, broken ones not at all.

For figures: ``FAULTS_RATE=3000 pytest -m "" -s tests/faults/test_releases.py``.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import orjson
import pytest

from ensemble.releases.layout import numbers_in, release_in
from ensemble.releases.publish import Publisher, publish
from loadtest.open_loop import Record
from tests.conftest import REPOSITORY
from tests.faults.served import (
    RATE,
    Recovery,
    Served,
    Shop,
    all_answered,
    bound_ms,
    full_share,
    serving,
    usual_share,
)
from tests.pace import RETRIED, timed
from tests.unit.releases.killed import kill_at
from tests.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(1_200), RETRIED]

ROLLBACK_S = 5.0
GIVEN_UP = ("didn't end within", "wasn't ready within")
"""What is said of a release whose check has no turn beside the load, and is given up."""


class Window(Shop):
    """A shop whose answers are also asked which release made them."""

    def __init__(self, shop: Shop) -> None:
        self.__dict__.update(shop.__dict__)
        self.releases: set[str | None] = set()

    def flaw(self, path: int, body: bytes) -> str:
        page = orjson.loads(body)
        if page["source"] == "ensemble":
            self.releases.add(page["release"])
        return super().flaw(path, body)


@pytest.fixture(scope="module")
def shop(catalog_dir: Path) -> Shop:
    return asyncio.run(Shop.of(catalog_dir))


def published(source: Path, folder: Path, *, number: int | None = None) -> Path:
    """A new repository with the one release of ``source``."""
    folder.mkdir()
    publish(release_in(source), folder, Publisher("0.1.0"), number=number)
    return folder


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """The committed release, published."""
    return published(REPOSITORY, tmp_path / "models")


@pytest.fixture
def candidate(tmp_path: Path) -> Path:
    """The committed release as release 2."""
    return published(REPOSITORY, tmp_path / "candidate", number=2)


@pytest.fixture
def window(shop: Shop) -> Window:
    return Window(shop)


@pytest.fixture
def served(window: Window, catalog_dir: Path, repository: Path) -> Iterator[Served]:
    with serving(window, catalog_dir, "--repository", str(repository)) as served:
        served.load(2.0)  # what is made once is made
        yield served


def verb(*arguments: str | Path, status: int = 0) -> tuple[str, float]:
    """``racksort release``, out of the server's way; what it said on stderr, and how long it took."""
    began = time.monotonic()
    command = ["nice", "-n", "19", sys.executable, "-m", "racksort", "release", *map(str, arguments)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert ended.returncode == status, ended.stderr
    return ended.stderr, time.monotonic() - began


def during(served: Served, work: Callable[[], None], *, at_most_s: float) -> tuple[Record, float]:
    """Load while ``work`` is done, and a little longer; and how long the work took."""
    done = threading.Event()
    records: list[Record] = []

    def keep_asking() -> None:
        while not done.is_set():
            records.append(served.load(4.0))

    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(keep_asking)
        began = time.monotonic()
        try:
            work()
            took = time.monotonic() - began
        finally:
            done.set()
        asking.result(at_most_s)
    joined = [np.concatenate([getattr(each, name) for each in records]) for name in _ARRAYS]
    return Record(*joined, [wrong for each in records for wrong in each.wrong], records[0].started), took


def releases_now(served: Served, window: Window) -> set[str | None]:
    """Which releases make the answers to requests that begin from now on."""
    served.load(0.5)  # those under way have ended then
    window.releases.clear()

    def seen() -> set[str | None]:
        served.load(1.0)
        return set(window.releases)

    return until(seen)  # none of a second's answers is a full one where the machine stands still


_ARRAYS = ("moment_s", "latency_ms", "status", "full")


def report(name: str, record: Record, healthy: Record, **figures: float) -> None:
    """For people: run pytest with -s."""
    told = "  ".join(f"{key} {value:,.2f}" for key, value in figures.items())
    print(  # noqa: T201 - figures for people
        f"\n{name}: {record.status.size:,} requests at {RATE:,.0f}/s, {record.full.mean():.2%} full, "
        f"{record.status.size - record.count(200)} refused or failed, "
        f"p99 {record.percentile(99):.1f} ms, {record.percentile(99) / healthy.percentile(99):.2f} x the "
        f"{healthy.percentile(99):.1f} ms before  {told}"
    )


def test_publishers_die_at_every_step_and_then_a_release_comes_and_goes(
    served: Served, window: Window, repository: Path, candidate: Path
) -> None:
    steps: list[str] = []
    elsewhere = published(REPOSITORY, repository.parent / "steps")
    publish(release_in(candidate), elsewhere, Publisher("0.1.0", step=steps.append))

    def publish_in_vain() -> None:
        for step in steps:
            kill_at("publish", step, repository, candidate)
            assert set(numbers_in(repository)) <= {1, 2}
        publish(release_in(candidate), repository, Publisher("0.1.0"))

    healthy = served.load(4.0)
    record, _ = during(served, publish_in_vain, at_most_s=120)
    report("publishers killed", record, healthy)
    all_answered(record)
    assert numbers_in(repository) == [1, 2]
    assert not list(repository.rglob(".staging-*"))
    assert window.releases == {"personalize_v1"}

    seconds: dict[str, float] = {}
    seen: dict[str, set[str | None]] = {}

    def promote_and_roll_back() -> None:
        to = ("--repository", repository, "--url", served.url)
        _, seconds["status"] = verb("status", *to)  # what any command of least priority takes beside this load
        _, seconds["promote"] = verb("promote", "2", *to)
        seen["promoted"] = releases_now(served, window)
        _, seconds["rollback"] = verb("rollback", *to)
        seen["rolled back"] = releases_now(served, window)

    record, _ = during(served, promote_and_roll_back, at_most_s=120)
    report("promoted and rolled back", record, healthy, **{f"{name}_s": took for name, took in seconds.items()})
    all_answered(record)
    assert seen == {"promoted": {"personalize_v2"}, "rolled back": {"personalize_v1"}}
    with timed():
        assert seconds["rollback"] < max(ROLLBACK_S, 3 * seconds["status"])


def changed(candidate: Path, model: str, change: Callable[[onnx.ModelProto], None]) -> None:
    path = candidate / model / "2" / "model.onnx"
    proto = onnx.load(path)
    change(proto)
    onnx.save(proto, path)


def _truncated(candidate: Path) -> None:
    path = candidate / "category_affinity" / "2" / "model.onnx"
    path.write_bytes(path.read_bytes()[:-10_000])


def _wrong_shape(candidate: Path) -> None:
    def fix(proto: onnx.ModelProto) -> None:
        proto.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 7

    changed(candidate, "product_pool", fix)


def _wrong_name(candidate: Path) -> None:
    def rename(proto: onnx.ModelProto) -> None:
        old = proto.graph.output[0].name
        proto.graph.output[0].name = "demands"
        for node in proto.graph.node:
            node.output[:] = ["demands" if name == old else name for name in node.output]

    changed(candidate, "product_pool", rename)


def _nan(candidate: Path) -> None:
    def poison(proto: onnx.ModelProto) -> None:
        (weights, *_) = (each for each in proto.graph.initializer if each.data_type == onnx.TensorProto.FLOAT)
        values = onnx.numpy_helper.to_array(weights).copy()
        values.flat[-1] = np.nan
        weights.CopyFrom(onnx.numpy_helper.from_array(values, weights.name))

    changed(candidate, "product_pool", poison)


def _bad_config(candidate: Path) -> None:
    path = candidate / "product_pool" / "config.pbtxt"
    path.write_text(path.read_text().replace("max_batch_size: 64", "max_batch_size: sixty"))


def _external_data(candidate: Path) -> None:
    path = candidate / "product_pool" / "2" / "model.onnx"
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="weights.bin", size_threshold=0)


def _broken_code(candidate: Path) -> None:
    (candidate / "ranking" / "2" / "model.py").write_text("raise RuntimeError('never meant to be published')\n")


CORRUPT = {
    _truncated: "category_affinity",
    _wrong_shape: "product_pool",
    _wrong_name: "product_pool",
    _nan: "product_pool",
    _bad_config: "product_pool",
    _external_data: "weights.bin",
    _broken_code: "ranking",
}


def test_what_is_corrupt_is_refused_and_triton_comes_back_on_the_old_release(
    served: Served, window: Window, repository: Path, candidate: Path, tmp_path: Path
) -> None:
    before = {path.relative_to(repository) for path in repository.rglob("*")}
    said: dict[str, str] = {}

    def try_all() -> None:
        for corrupt in CORRUPT:
            folder = tmp_path / corrupt.__name__
            shutil.copytree(candidate, folder)
            corrupt(folder)
            said[corrupt.__name__], _ = verb(
                "publish", folder, "--repository", repository, "--skip", "live,latency,memory,quality", status=2
            )
            shutil.rmtree(folder)

    healthy = served.load(4.0)
    record, took = during(served, try_all, at_most_s=120)
    report("corrupt releases", record, healthy, refused_in_s=took / len(CORRUPT))
    all_answered(record)
    assert not [each for each in said.values() if "Traceback" in each]
    for corrupt, where in CORRUPT.items():
        why = said[corrupt.__name__]
        assert where in why or any(each in why for each in GIVEN_UP)
        with timed():
            assert where in why
    left = {path.relative_to(repository) for path in repository.rglob("*")} - before
    assert {path.name for path in left} <= {".publish.lock"}

    (triton,) = served.tritons()
    recovery = Recovery(served.triton_address())

    def kill() -> None:
        os.kill(triton, signal.SIGKILL)
        recovery.begin()

    record = served.load(15.0, (1.0, kill))
    back_s = recovery.join() - record.started
    all_answered(record)
    with timed():
        assert record.percentile(99) <= bound_ms(healthy)
        assert full_share(record, back_s + 2.0) >= usual_share(healthy)
    assert window.releases == {"personalize_v1"}
    report("killed after them", record, healthy, back_after_s=back_s - 1.0)
    assert json.loads((repository / "personalize_v1" / "1" / "manifest.json").read_text())["release"] == 1
