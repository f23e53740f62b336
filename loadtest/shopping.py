"""Turns the reference data's test weeks into traffic: who really came to the shop, in the order in which they came.

Each visit to the shop opens some containers. Which ones isn't in the data, so they are drawn: by Zipf's law over the
containers in the order of what was really bought from them, grids more often than lists. All draws are seeded.
"""

from __future__ import annotations

import asyncio
import fcntl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from api.catalog import files
from api.catalog.embedded import EmbeddedCatalog
from api.types import Kind
from ensemble.data.dataset import Dataset, load
from ensemble.errors import RacksortError
from loadtest.mix import FIRST_WEEK, LAST_WEEK, Mix, described, kept
from loadtest.replay import ANONYMOUS, Replay

Report = Callable[[str, float], None]

NEW_CUSTOMERS: Final = 1_000_000
"""New customers are numbered from here; the reference data's households end at 2,500."""
MAX_PAGES: Final = 40


@dataclass(frozen=True, slots=True, eq=False)
class Targets:
    """What can be opened, by kind in the order of popularity."""

    container_id: list[str]
    category: list[str]
    grid: npt.NDArray[np.bool_]
    members: list[npt.NDArray[np.int64]]
    whole: dict[Kind, npt.NDArray[np.int64]]
    """Numbers of the whole containers of a kind, most bought from first."""
    narrowed: dict[int, npt.NDArray[np.int64]]
    """By a whole container's number: those of its categories, most bought from first."""


def ensure_replay(path: Path, catalog: Path, mix: Mix, report: Report) -> Replay:
    """The traffic of ``mix`` over ``catalog``, from ``path`` where it is there and still fits, else made anew.

    Raises:
        RacksortError: the catalog is missing or the reference data isn't installed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with (path.parent / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several generators may start at once
        replay = kept(path, catalog, mix)
        if replay is None:
            replay = build(load(progress=report), catalog, mix)
            replay.about.update(described(catalog, mix))
            replay.save(path)
    return replay


def build(dataset: Dataset, catalog: Path, mix: Mix) -> Replay:
    """Replay the test weeks' visits over the containers of ``catalog``."""
    bought = dataset.purchases.filter(pl.col("week").is_between(FIRST_WEEK, LAST_WEEK))
    if bought.is_empty():
        raise RacksortError(f"the data has no purchases in weeks {FIRST_WEEK} to {LAST_WEEK}: nothing to replay")
    counts = bought.group_by("product_id").len().sort("product_id")
    sold = counts["product_id"].to_numpy(), counts["len"].to_numpy()
    targets = asyncio.run(_targets(catalog, sold))
    visits = bought.select("customer_id", "basket_id").unique(maintain_order=True)["customer_id"].to_numpy()
    random = np.random.default_rng(mix.seed)

    opened = 1 + random.poisson(mix.opened - 1, size=mix.sessions)  # each opens at least one, so these suffice
    visit = np.repeat(np.arange(opened.size), opened)[: mix.sessions]
    customer = _customers(random, visits, opened.size, mix)[visit]
    grid = random.random(mix.sessions) < mix.grids
    target = np.empty(mix.sessions, np.int64)
    for kind, chosen in ((Kind.GRID, grid), (Kind.LIST, ~grid)):
        target[chosen] = _zipf(random, targets.whole[kind], int(chosen.sum()), mix.exponent)
    for session in np.flatnonzero(random.random(mix.sessions) < mix.categories):
        narrower = targets.narrowed.get(int(target[session]))
        if narrower is not None:
            target[session] = _zipf(random, narrower, 1, mix.exponent)[0]
    pages = np.where(grid, random.geometric(1 / mix.scrolled, mix.sessions).clip(max=MAX_PAGES), 1)
    limit = np.where(grid, random.choice((24, 40), mix.sessions), random.choice((12, 24), mix.sessions))
    return Replay(
        customer=customer,
        target=target.astype(np.int32),
        limit=limit.astype(np.int16),
        pages=pages.astype(np.int16),
        container_id=np.array(targets.container_id),
        category=np.array(targets.category),
        grid=targets.grid,
        members=np.concatenate(targets.members),
        offsets=np.cumsum([0, *(each.size for each in targets.members)]),
    )


def _customers(
    random: np.random.Generator, visits: npt.NDArray[np.int64], count: int, mix: Mix
) -> npt.NDArray[np.int64]:
    """Who makes each of ``count`` visits: the real ones in turn, some of them by somebody new or unnamed instead."""
    customer: npt.NDArray[np.int64] = np.resize(visits, count)
    draw = random.random(count)
    customer[draw < mix.anonymous] = ANONYMOUS
    new = (draw >= mix.anonymous) & (draw < mix.anonymous + mix.new)
    customer[new] = NEW_CUSTOMERS + np.arange(int(new.sum()))
    return customer


def _zipf(
    random: np.random.Generator, ranked: npt.NDArray[np.int64], count: int, exponent: float
) -> npt.NDArray[np.int64]:
    """``count`` of ``ranked``, the one in place r with a probability in proportion to r to the power of -exponent."""
    weights = np.arange(1, ranked.size + 1, dtype=np.float64) ** -exponent
    return random.choice(ranked, size=count, p=weights / weights.sum())


async def _targets(folder: Path, sold: tuple[npt.NDArray[np.int64], npt.NDArray[np.uint32]]) -> Targets:
    """Everything that can be opened, with its products and by what was sold of them."""
    content = files.read(folder)
    catalog = EmbeddedCatalog(content)
    slug_of = {name: slug for slug, names in content.categories.items() for name in names}
    slugs = dict(zip(content.products["product_id"], content.products["category"], strict=True)) if slug_of else {}
    names: list[str] = []
    categories: list[str] = []
    members: list[npt.NDArray[np.int64]] = []
    grid: list[bool] = []

    async def add(container: str, category: str, kind: Kind) -> int:
        pool = await catalog.pool(container, category or None)
        names.append(container)
        categories.append(category)
        members.append(pool.product_id)
        grid.append(kind is Kind.GRID)
        return len(names) - 1

    def popular_first(numbers: list[int]) -> npt.NDArray[np.int64]:
        return np.array(sorted(numbers, key=lambda number: (-_sold(members[number], sold), number)), np.int64)

    whole: dict[Kind, list[int]] = {Kind.GRID: [], Kind.LIST: []}
    narrowed: dict[int, npt.NDArray[np.int64]] = {}
    for container in await catalog.containers():
        number = await add(container.container_id, "", container.kind)
        whole[container.kind].append(number)
        held = sorted({slug_of.get(slugs.get(product, ""), "") for product in members[number].tolist()} - {""})
        if len(held) > 1:
            narrower = [await add(container.container_id, category, container.kind) for category in held]
            narrowed[number] = popular_first(narrower)
    ranked = {kind: popular_first(numbers) for kind, numbers in whole.items()}
    return Targets(names, categories, np.array(grid), members, ranked, narrowed)


def _sold(products: npt.NDArray[np.int64], sold: tuple[npt.NDArray[np.int64], npt.NDArray[np.uint32]]) -> int:
    """Lines of the test weeks that bought one of ``products``."""
    return int(sold[1][np.isin(sold[0], products)].sum())
