"""What only the shop's rules need to know of products: which fields are asked for, and what is made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from api.attributes import UNKNOWN, Attributes, Columns, Names
from api.catalog.elastic import columns
from api.catalog.elastic.columns import NUMBERS
from api.catalog.elastic.query import BRAND, CATEGORY
from api.catalog.elastic.schema import ATTRIBUTES, Meta
from api.catalog.extras import days_of

_NUMERIC: Final = frozenset({"float", "double", "short", "integer", "long"})
"""Field types; older versions made ``first_seen_day`` what its file had."""
_REPEAT_RATE, _SEEN, _WEEK = (NUMBERS.index(name) for name in ("repeat_rate", "first_seen_day", "first_week"))


@dataclass(frozen=True, slots=True, eq=False)
class Extras:
    """What one version of the catalog can tell."""

    fields: tuple[str, ...]
    """That are asked for."""
    slugs: Mapping[str, int]
    """The code of each category's slug."""
    by_name: Mapping[str, int]
    """The same by the names in the field ``category``."""
    week: tuple[float, int] | None
    """The first day of a week and its number, where ``first_week`` says how new a product is."""

    @classmethod
    def of(cls, meta: Meta, mapping: Mapping[str, Any]) -> Self:
        """What a version with this meta data and these fields has.

        Of two fields that say how new a product is the exact one is taken. A version that an older racksort loaded
        doesn't say in which week it lives, so that its ``first_week`` says nothing.
        """
        held = _held(meta, mapping)
        if "first_seen_day" in held:
            held.discard("first_week")
        week = None
        if "first_week" in held and meta.now_day is not None and meta.now_week is not None:
            week = (meta.now_day, meta.now_week)
        if week is None:
            held.discard("first_week")
        return cls(
            (*sorted(held), *([CATEGORY] if meta.categories else [])),
            {slug: at for at, slug in enumerate(meta.categories)},
            {name: at for at, names in enumerate(meta.categories.values()) for name in names},
            week,
        )

    def attributes(self, found: columns.Columns) -> Attributes:
        """Of products that were found, all in their order."""
        further = found.further
        if further is None:
            raise RuntimeError("what only rules need wasn't asked for")
        return self.made(further.brand, found.category, further.numbers, np.arange(found.product_id.size))

    def made(
        self,
        brand: Sequence[str],
        category: Sequence[str],
        numbers: npt.NDArray[np.float32],
        row: npt.NDArray[np.int64],
    ) -> Attributes:
        """The attributes of n products.

        Args:
            brand: names [n]; empty where there is none.
            category: names [n] as in the field ``category``.
            numbers: [n, 3], columns ``NUMBERS``.
            row: [n], a product's own number, or ``UNKNOWN`` where the catalog doesn't have it.
        """
        seen = numbers[:, _SEEN] if "first_seen_day" in self.fields else None
        if self.week is not None:
            seen = days_of(numbers[:, _WEEK], *self.week)
        codes = np.fromiter((self.by_name.get(name, UNKNOWN) for name in category), np.int32, len(category))
        return Attributes(
            Columns(
                brand=_names(brand) if BRAND in self.fields else None,
                category=Names(codes, self.slugs) if self.slugs else None,
                first_seen_day=None if seen is None else np.ascontiguousarray(seen),
                repeat_rate=np.ascontiguousarray(numbers[:, _REPEAT_RATE]) if "repeat_rate" in self.fields else None,
            ),
            row,
        )


def _held(meta: Meta, mapping: Mapping[str, Any]) -> set[str]:
    """Which of ``ATTRIBUTES`` the products may have."""
    there = ATTRIBUTES if meta.attributes is None else meta.attributes
    kinds = {name: mapping.get(name, {}).get("type") for name in there}
    return {name for name, kind in kinds.items() if (kind == "keyword" if name == BRAND else kind in _NUMERIC)}


def _names(values: Sequence[str]) -> Names:
    number: dict[str, int] = {}
    codes = (number.setdefault(name, len(number)) if name else UNKNOWN for name in values)
    return Names(np.fromiter(codes, np.int32, len(values)), number)
