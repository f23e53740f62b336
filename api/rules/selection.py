"""Which products a selector means."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from api.attributes import Names
from api.rules.rule import Cap, HideBought, MinNew, Rule, Selector, selectors
from api.types import Pool

_FEW: Final = 8
"""Numbers that are sooner compared one by one than looked up."""

Codes = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class Fields:
    """What selectors see of n products beside their ids. Codes that aren't known are -1."""

    leaf: Codes
    """Numbers of leaf categories [n]."""
    slug: Codes | None
    """Codes of categories [n]; None where the catalog has none, as below."""
    brand: Codes | None
    slugs: Names | None
    brands: Names | None

    @classmethod
    def of(cls, pool: Pool) -> Self:
        """A pool's."""
        known = pool.attributes
        if known is None:
            return cls(pool.category_id, None, None, None, None)
        return cls(pool.category_id, known.category(), known.brand(), known.columns.category, known.columns.brand)

    def taken(self, rows: npt.NDArray[np.int64]) -> Fields:
        """Those of some of the products."""
        slug = None if self.slug is None else self.slug[rows]
        return Fields(self.leaf[rows], slug, None if self.brand is None else self.brand[rows], self.slugs, self.brands)


class Selection:
    """A selector made ready: sorted ids, numbers and names apart, each once."""

    __slots__ = ("brands", "categorical", "ids", "leaves", "slugs")

    def __init__(self, selector: Selector) -> None:
        categories = dict.fromkeys(selector.categories or ())
        self.ids = None if selector.ids is None else np.unique(np.array(selector.ids, np.int64))
        self.categorical = selector.categories is not None
        self.leaves = np.array([each for each in categories if isinstance(each, int)], np.int32)
        self.slugs = tuple(each for each in categories if isinstance(each, str))
        self.brands = None if selector.brands is None else tuple(dict.fromkeys(selector.brands))

    @property
    def only_ids(self) -> bool:
        """Whether the ids alone say which products are meant, without a catalog."""
        return self.ids is not None and not self.categorical and self.brands is None

    def mask(self, pool: Pool) -> npt.NDArray[np.bool_]:
        """Whether each product of the pool [n] is meant. What the catalog doesn't know doesn't fit."""
        meant = np.ones(pool.product_id.size, np.bool_) if self.ids is None else np.isin(pool.product_id, self.ids)
        if not self.only_ids:
            meant &= self.fits(Fields.of(pool))
        return meant

    def fits(self, fields: Fields) -> npt.NDArray[np.bool_]:
        """Whether each product [n] is of the selector's categories and brands."""
        meant = np.ones(fields.leaf.size, np.bool_)
        if self.categorical:
            meant = _named(fields.slug, fields.slugs, self.slugs, fields.leaf.size)
            if self.leaves.size:
                meant |= _among(fields.leaf, self.leaves)
        if self.brands is not None:
            meant &= _named(fields.brand, fields.brands, self.brands, fields.leaf.size)
        return meant


def _named(codes: Codes | None, column: Names | None, names: Sequence[str], size: int) -> npt.NDArray[np.bool_]:
    """Whether each product's code is one of these names'."""
    numbers = [] if column is None else [column.number[name] for name in names if name in column.number]
    if codes is None or not numbers:
        return np.zeros(size, np.bool_)
    return _among(codes, np.array(numbers, np.int32))


def _among(values: Codes, numbers: Codes) -> npt.NDArray[np.bool_]:
    """Whether each value is one of the numbers, of which there is one at least."""
    if numbers.size > _FEW:
        return np.isin(values, numbers)
    found: npt.NDArray[np.bool_] = values == numbers[0]
    for number in numbers[1:]:
        found |= values == number
    return found


def needs(rule: Rule) -> tuple[str, ...]:
    """The columns of a catalog that the rule asks for, sorted."""
    needed = set()
    for selector in selectors(rule):
        if selector.brands is not None:
            needed.add("brand")
        if any(isinstance(each, str) for each in selector.categories or ()):
            needed.add("category")
    if isinstance(rule, Cap) and rule.per == "brand":
        needed.add("brand")
    if isinstance(rule, HideBought) and rule.unless_repeat_rate is not None:
        needed.add("repeat_rate")
    if isinstance(rule, MinNew):
        needed.add("first_seen_day")
    return tuple(sorted(needed))


def lacks(pool: Pool, column: str) -> bool:
    """Whether the pool's catalog doesn't know a column."""
    known: Any = None if pool.attributes is None else pool.attributes.columns
    return known is None or getattr(known, column) is None


def lacking(rule: Rule, pool: Pool) -> Iterator[str]:
    """What the rule asks of products that the pool's catalog doesn't know, so that it has less effect or none."""
    return (column for column in needs(rule) if lacks(pool, column))
