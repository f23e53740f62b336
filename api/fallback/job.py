"""The whole making of a store: catalog, ranking, files."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from api.app import open_catalog
from api.ensemble_client import TritonEnsemble
from api.errors import ReleaseTooNew
from api.fallback.compute import fill, prepare
from api.fallback.store import PrecomputedLists
from api.fallback.writer import GenerationWriter
from api.metrics import Metrics
from api.settings import Settings
from api.tls_follower import TlsFollower
from ensemble import contract

_CALL_TIMEOUT_S: Final = 30.0
"""Nobody waits for a page: a call may take as long as a busy Triton needs."""
_MINUTE: Final = 1 / 1_440
"""In days: how far apart clocks and roundings may be."""


@dataclass(frozen=True, slots=True)
class Made:
    """What a run has made."""

    generation: str
    """Folder of the files."""
    release: str
    customers: int
    containers: int
    """Containers of which each customer has a list of their own."""
    for_everybody: int
    """Containers of which there is only a list for everybody: grids, and lists without products."""
    lists: int
    """Of customers' own."""
    ranked: int
    """Lists that this run has ranked; the others an earlier one, which was broken off."""
    seconds: float
    """Of ranking and writing."""
    lists_per_s: float
    bytes: int
    bytes_per_list: float


async def rank_all(
    settings: Settings,
    customers: npt.NDArray[np.int64],
    products: int,
    out: Path,
    report: Callable[[int, int], None] = lambda _done, _all: None,
) -> Made:
    """Rank the lists of ``customers`` and make them the current ones.

    Args:
        settings: which catalog, Triton, release and moment.
        customers: ids, 1 or higher, strictly ascending.
        products: of a list, at most, 1 or more.
        out: folder of the store.
        report: takes the lists that are finished and all of them.

    Raises:
        AdapterError: the catalog or the ensemble can't do its part, or another process writes to ``out``.
        OSError: ``out`` can't be written.
    """
    release = contract.ensemble_name(settings.release)
    tls = TlsFollower.of(settings.triton_tls)
    catalog = await open_catalog(settings, Metrics(), for_rules=False)
    ensemble = TritonEnsemble(settings.triton, settings.release, timeout_s=_CALL_TIMEOUT_S, tls=tls)
    try:
        task = await prepare(
            catalog, customers, release=release, products=products, created_at=time.time(), today=settings.now_day
        )
        _refuse_future(release, await ensemble.history_until_day(), task.plan.day)
        containers = task.ranked
        lists = customers.size * containers
        with GenerationWriter(out, task.plan) as writer:
            before = done = writer.done * containers
            report(done, lists)

            def ranked(more: int) -> None:
                nonlocal done
                done += more
                report(done, lists)

            started = time.perf_counter()
            await fill(writer, task, ensemble, calls=settings.max_calls_in_flight, report=ranked)
            folder = writer.publish()
            seconds = time.perf_counter() - started
    finally:
        await ensemble.close()
        await catalog.close()
    size = PrecomputedLists.open(out).nbytes
    return Made(
        generation=str(folder),
        release=release,
        customers=customers.size,
        containers=containers,
        for_everybody=len(task.plan.containers) - containers,
        lists=lists,
        ranked=lists - before,
        seconds=seconds,
        lists_per_s=(lists - before) / seconds,
        bytes=size,
        bytes_per_list=size / max(lists, 1),
    )


def _refuse_future(release: str, until: float | None, day: float) -> None:
    if until is not None and day < until - _MINUTE:
        raise ReleaseTooNew(
            f"{release} has learnt from purchases up to day {until:.2f} since 1970, but would rank for day {day:.2f}: "
            "prepare the catalog for a later week, or set RACKSORT_NOW"
        )
