"""``racksort serve`` in its own process, load on it, and the processes behind it to do harm to."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import orjson
import pytest

from api.catalog.embedded import EmbeddedCatalog
from ensemble.runtime.canary import Canary
from loadtest import open_loop
from loadtest.open_loop import Record
from loadtest.processes import below
from loadtest.traffic import product_paths
from tests.pace import timed

RATE = float(os.environ.get("FAULTS_RATE", "300"))
"""Requests a second; 70 % of what the machine can do for figures, little enough for any machine by default."""
LIMIT = 24
DEADLINE_MS = 50.0
_PATHS = 3_000
LEAST_USUAL = 0.9
"""Full answers while nothing fails, at least, even on a machine that stands still now and then."""
_PATIENCE_S = 60.0
"""How long the last answers of a load are waited for: far above what anything takes, as the machine may be busy."""


class Shop:
    """What may be shown, told from the catalog's files."""

    def __init__(self, catalog: EmbeddedCatalog, pools: dict[str, frozenset[int]]) -> None:
        self.catalog = catalog
        self.pools = pools
        self.paths = product_paths(sorted(pools), range(1, 2_400), _PATHS, limit=LIMIT)
        self._allowed = [pools[path.split("/")[3]] for path in self.paths]

    @classmethod
    async def of(cls, folder: Path, *, kind: str = "list") -> Shop:
        catalog = EmbeddedCatalog.open(folder)
        chosen = [each for each in await catalog.containers() if each.kind == kind and each.size]
        if kind == "grid":
            chosen = [each for each in chosen if each.size >= 1_024]
        pools = {
            each.container_id: frozenset((await catalog.pool(each.container_id)).product_id.tolist()) for each in chosen
        }
        return cls(catalog, pools)

    def flaw(self, path: int, body: bytes) -> str:
        """What is wrong with an answer to that path; empty where it is valid."""
        page = orjson.loads(body)
        ids, allowed = page["product_ids"], self._allowed[path]
        if len(ids) != min(LIMIT, len(allowed)) or len(set(ids)) != len(ids) or not allowed.issuperset(ids):
            return f"{self.paths[path]}: {ids}"
        if page["degraded"] != bool(page["degraded_reasons"]) or page["degraded"] == (page["source"] == "ensemble"):
            return f"{self.paths[path]}: {page}"
        return ""


class Served:
    """A running server."""

    def __init__(self, url: str, pid: int, shop: Shop) -> None:
        self.url = url
        self.pid = pid
        self._shop = shop

    def load(
        self, seconds: float, *actions: tuple[float, Callable[[], object]], rate: float = RATE, connections: int = 512
    ) -> Record:
        """Requests at ``rate`` for ``seconds``, and ``actions`` at their moments."""
        return open_loop.run(
            self.url,
            self._shop.paths,
            rate,
            seconds,
            connections=connections,
            patience_s=_PATIENCE_S,
            check=self._shop.flaw,
            actions=actions,
        )

    def metric(self, name: str, **labels: str) -> float:
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        wanted = name + ("{" + ",".join(f'{key}="{value}"' for key, value in labels.items()) + "}" if labels else "")
        return next(float(line.split()[-1]) for line in text.splitlines() if line.rpartition(" ")[0] == wanted)

    def readiness(self) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=10) as answer:
                return answer.status, orjson.loads(answer.read())["status"]
        except urllib.error.HTTPError as error:
            with error:
                return error.code, ""

    def tritons(self) -> list[int]:
        """Process ids of the Triton servers that this server has started and that live."""
        return [pid for pid, name in below(self.pid).items() if name == "tritonserver"]

    def stub(self, model: str) -> int:
        """The process of a Python model."""
        (pid,) = [
            pid
            for pid, name in below(self.pid).items()
            if name.startswith("triton_python") and f"/{model}/".encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
        ]
        return pid

    def triton_address(self) -> str:
        (pid,) = self.tritons()
        found = re.search(rb"--grpc-port=(\d+)", Path(f"/proc/{pid}/cmdline").read_bytes())
        assert found
        return f"127.0.0.1:{found[1].decode()}"


@contextmanager
def serving(
    shop: Shop, catalog: Path, *arguments: str, prefix: Sequence[str] = (), **settings: str
) -> Iterator[Served]:
    """The server, ready; ``settings`` are variables without ``RACKSORT_``."""
    process = subprocess.Popen(
        [*prefix, sys.executable, "-m", "racksort", "serve", "--catalog", str(catalog), "--port", "0", *arguments],
        env=os.environ | {f"RACKSORT_{name}": value for name, value in settings.items()},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    said: list[str] = []
    try:
        for line in process.stderr:
            said.append(line)
            if found := re.search(r"curl '?(http://[^/]+)/", line):
                # What it says later must not fill the pipe.
                threading.Thread(target=said.extend, args=[process.stderr], daemon=True).start()
                yield Served(found[1], process.pid, shop)
                break
        else:
            pytest.fail("it ended before it was ready: " + "".join(said))
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stderr.close()


class Recovery:
    """Looks for the first good inference of a Triton after something was done to it."""

    def __init__(self, address: str, *, at_most_s: float = 60.0) -> None:
        self._address = address
        self._until = time.monotonic() + at_most_s
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._begin = threading.Event()
        self.at = float("inf")
        self._thread.start()

    def begin(self) -> None:
        """From now on a good inference counts."""
        self._begin.set()

    def _look(self) -> None:
        self._begin.wait()
        canary = Canary(self._address, 1)
        try:
            while time.monotonic() < self._until:
                if canary.check(0.5).healthy:
                    self.at = time.monotonic()
                    return
                self._begin.wait()
        finally:
            canary.close()

    def join(self) -> float:
        """When it was, on the monotonic clock."""
        self._thread.join()
        return self.at


def full_share(record: Record, begin_s: float) -> float:
    """How many of those due from then on were answered in full; 0 where the load was over by then."""
    later = record.between(begin_s, float("inf"))
    return float(later.full.mean()) if later.full.size else 0.0


def usual_share(healthy: Record) -> float:
    """How many answers must be full once all is well again: 99 %, or fewer on a machine that gives fewer anyway."""
    share = full_share(healthy, 0.0)
    with timed():  # else a server that hardly ever ranks would recover at once
        assert share >= LEAST_USUAL
    return min(0.99, share - 0.01)


def all_answered(record: Record) -> None:
    """Every request was answered with a valid page or refused: no 5xx, no broken connection, none without an answer."""
    assert record.wrong == []
    assert record.count(200, 429) == record.status.size
    with timed():  # after a moment in which nothing runs, more come at once than are let in
        assert record.count(429) == 0


def bound_ms(healthy: Record) -> float:
    """How late answers may be: the deadline, or more on a machine that needs more while nothing fails."""
    return max(DEADLINE_MS, 3 * healthy.percentile(99))
