"""Which products of a pool a selector means."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from api.attributes import Names
from api.rules.rule import Cap, HideBought, MinNew, Rule, Selector, selectors
from api.types import Pool


class Selection:
    """A selector made ready: sorted ids, numbers and names apart."""

    __slots__ = ("_brands", "_categories", "_ids", "_leaves", "_slugs")

    def __init__(self, selector: Selector) -> None:
        self._ids = None if selector.ids is None else np.unique(np.array(selector.ids, np.int64))
        categories = selector.categories
        self._categories = categories is not None
        self._leaves = np.array([each for each in categories or () if isinstance(each, int)], np.int32)
        self._slugs = tuple(each for each in categories or () if isinstance(each, str))
        self._brands = selector.brands

    def mask(self, pool: Pool) -> npt.NDArray[np.bool_]:
        """Whether each product of the pool [n] is meant. What the catalog doesn't know doesn't fit."""
        meant = np.ones(pool.product_id.size, np.bool_)
        if self._ids is not None:
            meant &= np.isin(pool.product_id, self._ids)
        if self._categories:
            fits = np.isin(pool.category_id, self._leaves)
            if self._slugs and pool.attributes is not None:
                fits |= _named(pool.attributes.columns.category, pool.attributes.category, self._slugs, fits)
            meant &= fits
        if self._brands is not None:
            brands = np.zeros_like(meant)
            if pool.attributes is not None:
                brands = _named(pool.attributes.columns.brand, pool.attributes.brand, self._brands, brands)
            meant &= brands
        return meant


def _named(
    column: Names | None,
    codes: Callable[[], npt.NDArray[np.int32] | None],
    names: Iterable[str],
    otherwise: npt.NDArray[np.bool_],
) -> npt.NDArray[np.bool_]:
    if column is None:
        return otherwise
    numbers = [column.number[name] for name in names if name in column.number]
    found = codes() if numbers else None
    return otherwise if found is None else np.isin(found, np.array(numbers, np.int32))


def lacking(rule: Rule, pool: Pool) -> Iterator[str]:
    """What the rule asks of products that the pool's catalog doesn't know, so that it has less effect or none."""
    known: Any = None if pool.attributes is None else pool.attributes.columns
    needs = set()
    for selector in selectors(rule):
        if selector.brands is not None:
            needs.add("brand")
        if any(isinstance(each, str) for each in selector.categories or ()):
            needs.add("category")
    if isinstance(rule, Cap) and rule.per == "brand":
        needs.add("brand")
    if isinstance(rule, HideBought) and rule.unless_repeat_rate is not None:
        needs.add("repeat_rate")
    if isinstance(rule, MinNew):
        needs.add("first_seen_day")
    yield from sorted(need for need in needs if known is None or getattr(known, need) is None)
