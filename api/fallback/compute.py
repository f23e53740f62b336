"""Ranks the lists of all known customers, in full batches and with as many calls in flight as an adapter makes."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from api.catalog.protocol import Catalog
from api.ensemble_client import Ensemble, Ranked
from api.errors import CatalogUnavailable, EnsembleError, EnsembleRejected, EnsembleUnavailable
from api.fallback.layout import ContainerLists, Section
from api.fallback.writer import GenerationWriter, Plan
from api.tensors import Batch, Candidates, Row
from api.types import Kind, Pool
from ensemble import contract

POPULAR: Final = 128
"""Products of a grid's list for everybody: as many as a list container's pool can have."""

_PAUSES_S: Final = (0.5, 2.0, 5.0)
"""Before each further attempt of a call: a Triton that is started again is back within seconds."""

Report = Callable[[int], None]
"""Takes the number of lists that have been ranked since the last call."""


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be ranked."""

    plan: Plan
    candidates: tuple[Candidates | None, ...]
    """Of the plan's containers, in their order; None for a grid, and for a list without products."""
    products: int
    """Of a page: the rules of ranking depend on it."""

    @property
    def ranked(self) -> int:
        """Containers of which every customer gets a list of their own."""
        return sum(each is not None for each in self.candidates)


class _Place(NamedTuple):
    container: int
    row: int
    """Of the shard."""


async def prepare(
    catalog: Catalog,
    customers: npt.NDArray[np.int64],
    *,
    release: str,
    products: int,
    created_at: float,
    today: float | None = None,
) -> Task:
    """Everything but the ranking: the pools of all containers as they are now.

    Args:
        catalog: source of the pools.
        customers: as ``Plan.customers``.
        release: name of the ensemble.
        products: of a list, at most, 1 or more.
        created_at: now, Unix seconds.
        today: the moment to rank for, days since 1970-01-01 UTC; the catalog's own where not given, else now.

    Raises:
        CatalogUnavailable: a pool can't be had, or only a part of it.
        RowInvalid: a pool can't be ranked.
    """
    fixed = catalog.now_day if today is None else today
    entries: list[ContainerLists] = []
    candidates: list[Candidates | None] = []
    inputs = hashlib.blake2b(f"{fixed} {products} ".encode())
    for container in await catalog.containers():
        pool = await catalog.pool(container.container_id)
        if pool.partial:
            raise CatalogUnavailable(
                f"container {container.container_id!r}: the catalog has answered only in part: "
                "run `racksort precompute` again when it is whole"
            )
        if container.kind is Kind.GRID:
            entries.append(ContainerLists(pool.container_id, [], _popular(pool, POPULAR), 0))
            candidates.append(None)
            continue
        entries.append(_entry(pool, products))
        candidates.append(Candidates.of(pool) if entries[-1].places else None)
        if found := candidates[-1]:
            for part in (found.product_id, found.category_id, found.offer, found.boost):
                inputs.update(part)
    day = created_at / 86_400 if fixed is None else fixed
    plan = Plan(release, customers, tuple(entries), created_at, day, inputs.digest())
    return Task(plan, tuple(candidates), products)


async def fill(
    writer: GenerationWriter,
    task: Task,
    ensemble: Ensemble,
    *,
    calls: int = 2,
    report: Report = lambda _lists: None,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Rank what ``writer`` has pending, until nothing is.

    Args:
        writer: of ``task.plan``.
        task: what is to be ranked.
        ensemble: what ranks.
        calls: calls in flight.
        report: told after every call.
        sleep: waits so many seconds.

    Raises:
        EnsembleError: a call has failed several times, or a list has no answer. The shards before are finished.
        FallbackInvalid: the answers don't fit the pools.
        OSError: the store can't be written.
    """
    while (customers := writer.pending).size:
        shard = _Shard(customers, writer.sections)
        batches = shard.batches(task, writer.day)

        async def work(shard: _Shard = shard, batches: Iterator[tuple[list[_Place], Batch]] = batches) -> None:
            for places, batch in batches:
                shard.put(places, await _patiently(ensemble, batch, sleep))
                report(len(places))

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(calls):
                    group.create_task(work())
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        if missing := customers.size * task.ranked - shard.answered:  # a group doesn't tell of work that was cancelled
            raise EnsembleUnavailable(f"{missing} lists weren't ranked: run `racksort precompute` again, which goes on")
        writer.append(shard.lists)


class _Shard:
    """The lists of some customers while they come in."""

    def __init__(self, customers: npt.NDArray[np.int64], sections: Sequence[Section]) -> None:
        self._customers = customers.tolist()
        self._sections = sections
        self.lists = [np.full((customers.size, each.places), contract.PADDING, np.int64) for each in sections]
        """Per container, [customers, places]."""
        self.answered = 0
        """Of the lists that are ranked, those that have come in."""

    def batches(self, task: Task, day: float) -> Iterator[tuple[list[_Place], Batch]]:
        """All rows by bucket, in full batches but for the last of each."""
        for bucket in contract.BUCKETS:
            places: list[_Place] = []
            rows: list[Row] = []
            for number, candidates in enumerate(task.candidates):
                if candidates is None or candidates.bucket != bucket:
                    continue
                for row, customer in enumerate(self._customers):
                    places.append(_Place(number, row))
                    rows.append(Row.of(candidates, customer, None, day=day, page_size=task.products))
                    if len(rows) == contract.MAX_BATCH_SIZE:
                        yield places, Batch(tuple(rows))
                        places, rows = [], []
            if rows:
                yield places, Batch(tuple(rows))

    def put(self, places: Sequence[_Place], ranked: Ranked) -> None:
        for (number, row), product_id in zip(places, ranked.product_id, strict=True):
            self.lists[number][row] = product_id[: self._sections[number].places]
        self.answered += len(places)


async def _patiently(ensemble: Ensemble, batch: Batch, sleep: Callable[[float], Awaitable[None]]) -> Ranked:
    for pause in _PAUSES_S:
        try:
            return await ensemble.rank(batch)
        except EnsembleRejected:
            raise
        except EnsembleError:
            await sleep(pause)
    return await ensemble.rank(batch)


def _entry(pool: Pool, products: int) -> ContainerLists:
    allowed = pool.boost != contract.EXCLUDED
    table = pool.product_id[: contract.MAX_CANDIDATES][allowed[: contract.MAX_CANDIDATES]].tolist()
    return ContainerLists(pool.container_id, table, _popular(pool, products), min(products, len(table)))


def _popular(pool: Pool, products: int) -> list[int]:
    """The pool's own order without excluded products."""
    found: list[int] = pool.product_id[pool.boost != contract.EXCLUDED][:products].tolist()
    return found
