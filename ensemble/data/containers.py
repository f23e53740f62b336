"""The containers that a catalog offers: what each shows, as data that any catalog can evaluate.

A filter is ``{field: condition}``, all conditions joined by *and*. A condition is a value (equal), a list of values
(any of them) or bounds such as ``{"gte": 0.5, "lt": 1}``. ``available: true`` is always implied. A sort is a list of
``{"field": ..., "order": "asc" | "desc"}``; the product id, ascending, breaks the last ties.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import polars as pl

from ensemble.data.sales_features import BASE_WEEKS

Scalar: TypeAlias = str | float | bool
Condition: TypeAlias = Scalar | list[str] | dict[str, float]
Filter: TypeAlias = dict[str, Condition]
Sort: TypeAlias = tuple[tuple[str, Literal["asc", "desc"]], ...]

LIST_SIZE: Final = 128
"""Candidates of a list: more than the 100 that a page shows at most, so that ranking has a choice."""

_HANDFUL: Final = 5
"""Products below which a container isn't worth showing."""

_TOP_DEPARTMENTS: Final = 8
"""Departments, the largest first, that get a list of their own."""

_BY_POPULARITY: Final[Sort] = (("popularity", "desc"),)

_NOT_A_WORD: Final = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True)
class Definition:
    """A container before anything is looked up. ``size`` None shows all products that match."""

    container_id: str
    title: str
    kind: Literal["list", "grid"]
    filter: Filter
    sort: Sort = _BY_POPULARITY
    size: int | None = None

    def as_json(self) -> dict[str, object]:
        """The entry of ``containers.json``."""
        return {
            "container_id": self.container_id,
            "title": self.title,
            "kind": self.kind,
            "filter": self.filter,
            "sort": [{"field": field, "order": order} for field, order in self.sort],
            "size": self.size,
        }


def slug(name: str) -> str:
    """``name`` as a part of a URL: ``"FRZN MEAT/MEAT DINNERS"`` -> ``"frzn-meat-meat-dinners"``."""
    return _NOT_A_WORD.sub("-", name.lower()).strip("-")


def slugs(names: Sequence[str]) -> dict[str, list[str]]:
    """Slug -> the names that share it, sorted; names without a letter or digit have none."""
    found: dict[str, list[str]] = {}
    for name in sorted(set(names)):
        if slug(name):
            found.setdefault(slug(name), []).append(name)
    return found


def matches(conditions: Mapping[str, Condition]) -> pl.Expr:
    """The filter as an expression over a catalog's products."""
    expression = pl.col("available")
    for field, condition in conditions.items():
        column = pl.col(field)
        if isinstance(condition, dict):
            for bound, value in condition.items():
                # Bounds hold in the column's own precision: 0.9 as float32 is 0.9 here.
                expression &= getattr(column, {"gt": "gt", "gte": "ge", "lt": "lt", "lte": "le"}[bound])(value)
        elif isinstance(condition, list):
            expression &= column.is_in(condition)
        else:
            expression &= column == condition
    return expression


def define(products: pl.DataFrame, week: int) -> list[Definition]:
    """All containers worth showing, in display order: lists, then grids of departments (largest first) and categories.

    Args:
        products: columns of ``schema.CATALOG_PRODUCTS``.
        week: the catalog's week.
    """
    available = products.filter(pl.col("available"))
    departments = slugs(available["department"].to_list())
    counts = dict(available.group_by("department").len().iter_rows())
    largest = sorted(departments, key=lambda name: (-sum(counts[value] for value in departments[name]), name))
    categories = slugs(available["category"].to_list())
    candidates = [
        *_lists(week),
        *(
            Definition(
                f"top-{name}",
                f"Top of {_title(departments[name])}",
                "list",
                _any("department", departments[name]),
                size=LIST_SIZE,
            )
            for name in largest[:_TOP_DEPARTMENTS]
        ),
        *(
            Definition(f"department-{name}", _title(departments[name]), "grid", _any("department", departments[name]))
            for name in largest
        ),
        *(
            Definition(f"category-{name}", _title(names), "grid", _any("category", names))
            for name, names in categories.items()
        ),
    ]
    return [entry for entry in candidates if available.filter(matches(entry.filter)).height >= _HANDFUL]


def _lists(week: int) -> list[Definition]:
    entries: list[tuple[str, str, Filter, Sort]] = [
        ("popular", "Popular now", {}, _BY_POPULARITY),
        ("deals", "This week's deals", {"price_ratio": {"lte": 0.85}}, _BY_POPULARITY),
        ("buy-again", "Buy again", {"repeat_rate": {"gte": 0.35}}, _BY_POPULARITY),
        ("trending", "Trending", {"popularity": {"gte": 3}, "trend": {"gt": 0}}, (("trend", "desc"), *_BY_POPULARITY)),
        ("new", "New in the shop", {"first_week": {"gte": week - BASE_WEEKS}}, _BY_POPULARITY),
        ("mailer", "In this week's mailer", {"mailer": {"gte": 0.5}}, _BY_POPULARITY),
        ("in-store-specials", "In-store specials", {"display": {"gte": 0.2}}, _BY_POPULARITY),
        ("coupons", "With a coupon", {"coupon": {"gt": 0}}, _BY_POPULARITY),
        ("private-label", "Our own brand", {"brand": "Private"}, _BY_POPULARITY),
    ]
    return [Definition(name, title, "list", found, sort, LIST_SIZE) for name, title, found, sort in entries]


def _any(field: str, names: list[str]) -> Filter:
    return {field: names[0] if len(names) == 1 else list(names)}


def _title(names: Sequence[str]) -> str:
    return " / ".join(name.capitalize() for name in names)
