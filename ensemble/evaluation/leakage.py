"""Proof that a method doesn't look ahead: changing the future must not change a recommendation."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from ensemble.data.dataset import Dataset
from ensemble.errors import RacksortError
from ensemble.evaluation.history import past_of
from ensemble.evaluation.recommender import Recommender

CUSTOMERS: Final = 400
"""How many are asked: a method that looks ahead does so for whomever it ranks, and all of them would take minutes."""
Build = Callable[[Dataset], Recommender]
"""Makes a method from all data, so that a method which keeps hold of the future is caught too."""


def scramble_from(dataset: Dataset, week: int, seed: int) -> Dataset:
    """The same data with the purchases of ``week`` and later dealt out anew.

    Customers, products, quantities and values are each shuffled among those purchases; promotions after the week, of
    which only the week's own plan is known when it starts, are shuffled over products.
    """
    rng = np.random.default_rng(seed)
    return dataclasses.replace(
        dataset,
        purchases=_shuffle(
            dataset.purchases,
            pl.col("week") >= week,
            ("customer_id", "product_id", "quantity", "value", "regular_value"),
            rng,
        ),
        promotions=_shuffle(dataset.promotions, pl.col("week") > week, ("product_id",), rng),
    )


def check_no_lookahead(
    build: Build,
    dataset: Dataset,
    week: int,
    customer_id: npt.NDArray[np.int64],
    merchandise: npt.NDArray[np.int64],
    *,
    k: int = 20,
    seed: int = 0,
) -> None:
    """Recommend for ``week`` with the true future and with a scrambled one, and compare.

    Args:
        build: makes the method.
        dataset: all purchases.
        week: asked for.
        customer_id: ascending; a draw of ``CUSTOMERS`` of them is asked for.
        merchandise: candidates, ascending.
        k: places of the lists.
        seed: of the draw and of the scrambling.

    Raises:
        RacksortError: the lists of some customer differ, so the method saw purchases of the week or later.
    """
    drawn = np.sort(np.random.default_rng(seed).permutation(customer_id)[:CUSTOMERS])
    original, scrambled = (
        build(data).recommend(past_of(data, week, merchandise), drawn, merchandise, k)
        for data in (dataset, scramble_from(dataset, week, seed))
    )
    changed = int((original != scrambled).any(axis=1).sum())
    if changed:
        name = build(dataset).name
        raise RacksortError(
            f"{name!r} looks ahead: scrambling the purchases from week {week} on changed the lists of {changed} of "
            f"{len(drawn)} customers; its features must come from Dataset.before({week}) only"
        )


def _shuffle(frame: pl.DataFrame, which: pl.Expr, columns: Sequence[str], rng: np.random.Generator) -> pl.DataFrame:
    rows = np.flatnonzero(frame.select(which).to_series().to_numpy())
    shuffled = {}
    for column in columns:
        order = np.arange(len(frame))
        order[rows] = rng.permutation(rows)
        shuffled[column] = frame[column].gather(order)
    return frame.with_columns(**shuffled)
