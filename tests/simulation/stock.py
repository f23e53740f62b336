"""What the simulated shop sells: three versions of its catalog, the same for all seeds, and what is true of them."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from api.catalog.elastic.schema import FIELD_TYPES, META
from api.catalog.files import DEFAULTS
from ensemble import contract

NOW_DAY: Final = 17_483.25
CATEGORIES: Final = {"tea": ["TEA"], "coffee": ["COFFEE"], "sweets": ["JAM", "HONEY"], "rice": ["RICE"]}
"""Slug -> names."""
_NAMES: Final = tuple(name for names in CATEGORIES.values() for name in names)
_PLACES: Final = {"deals": 30, "popular": 64, "short": 5, "empty": 0, "seasonal": 20, "farewell": 20}
_LISTS: Final = (
    ("deals", "popular", "short", "empty", "farewell"),
    ("deals", "popular", "short", "empty", "seasonal"),
    ("deals", "popular", "short", "empty", "seasonal"),
)
"""Containers of each version beside ``GRID``; each list shows its own department."""
GRID: Final = "everything"
VERSIONS: Final = len(_LISTS)
ALWAYS: Final = (*(name for name in _PLACES if all(name in lists for lists in _LISTS)), GRID)
"""Containers that every version has."""
EMPTY: Final = "empty"
FILLED: Final = tuple(name for name in ALWAYS if name != EMPTY)
SOMETIMES: Final = ("seasonal", "farewell")
CUSTOMERS: Final = 400
"""They have the ids 1 to so many."""


@dataclass(frozen=True, slots=True)
class Product:
    """One product of one version."""

    product_id: int
    category_id: int
    category: str
    department: str
    offer: tuple[float, ...]
    boost: float
    excluded: bool

    def fields(self) -> dict[str, list[Any]]:
        """As a hit of a search shows it."""
        given: dict[str, list[Any]] = {
            "product_id": [self.product_id],
            "category_id": [self.category_id],
            "category": [self.category],
            "boost": [self.boost],
        }
        given |= {name: [value] for name, value in zip(contract.OFFER, self.offer, strict=True)}
        if self.excluded:
            given["excluded"] = [True]
        return given


@cache
def products(version: int) -> tuple[Product, ...]:
    """All that can be shown, best first. About a fifth is other than in the version before."""
    draw = random.Random(f"stock {version}")
    made = []
    for at, department in enumerate(_PLACES):
        for place in range(_PLACES[department]):
            since = max(each for each in range(version + 1) if each == 0 or (place * 7 + at + each) % 5 == 0)
            made.append(
                Product(
                    product_id=1 + since + VERSIONS * (place + 1_000 * at),
                    category_id=place % 7 + 1,
                    category=_NAMES[(place * 3 + at) % len(_NAMES)],
                    department=department,
                    offer=tuple(round(draw.random(), 3) for _ in contract.OFFER),
                    boost=draw.choice((0.0, 0.0, 0.0, 0.5, -0.25)),
                    excluded=place > 0 and draw.random() < 0.1,
                )
            )
    draw.shuffle(made)
    return tuple(made)


@cache
def matching(version: int, department: str | None, categories: tuple[str, ...] | None) -> tuple[Product, ...]:
    """What a search finds, best first."""
    return tuple(
        each
        for each in products(version)
        if (department is None or each.department == department) and (categories is None or each.category in categories)
    )


@cache
def containers(version: int) -> tuple[str, ...]:
    """Those of a version, in display order."""
    return (*_LISTS[version], GRID)


@cache
def definitions(version: int) -> tuple[dict[str, Any], ...]:
    """Its containers as ``containers.json`` has them."""
    return tuple(
        {
            "container_id": name,
            "title": name.title(),
            "kind": "grid" if name == GRID else "list",
            "filter": {} if name == GRID else {"department": name},
            "sort": [{"field": "popularity", "order": "desc"}],
            "size": None if name == GRID else 100,
        }
        for name in containers(version)
    )


def index(version: int) -> str:
    """Name of its index of products."""
    return f"racksort-products-2026-11-24-{version}"


@cache
def mapping(version: int) -> dict[str, Any]:
    """The mapping of its index, as Elasticsearch answers."""
    meta = {"schema_version": 1, "now_day": NOW_DAY, "categories": CATEGORIES, "state": "complete"}
    properties = {name: {"type": kind} for name, kind in FIELD_TYPES.items()}
    return {index(version): {"mappings": {"_meta": {META: meta}, "properties": properties}}}


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """What a container has in one version."""

    product_id: npt.NDArray[np.int64]
    boost: npt.NDArray[np.float32]

    @property
    def allowed(self) -> npt.NDArray[np.int64]:
        """Without the excluded products."""
        kept: npt.NDArray[np.int64] = self.product_id[self.boost != contract.EXCLUDED]
        return kept


@cache
def shown(version: int, container: str, category: str | None) -> Shown:
    """What it has, best first, whether the version still has the container or only its products."""
    names = None if category is None else tuple(CATEGORIES[category])
    found = matching(version, None if container == GRID else container, names)
    return Shown(
        np.array([each.product_id for each in found], np.int64),
        np.array([boost(each) for each in found], np.float32),
    )


def boost(product: Product | None) -> float:
    """What a product's boost must be in a pool."""
    if product is None:
        return DEFAULTS["boost"]
    return contract.EXCLUDED if product.excluded else product.boost


@cache
def by_id(version: int) -> dict[int, Product]:
    """All products of a version."""
    return {each.product_id: each for each in products(version)}
