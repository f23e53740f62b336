"""A document of rules against a catalog: contradictions that only a catalog shows, and what has no effect in it."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final

import numpy as np

from api.attributes import UNKNOWN, Columns
from api.catalog.protocol import Catalog
from api.errors import CatalogUnavailable, Fault, RulesInvalid
from api.rules.contradictions import contradictions
from api.rules.document import Document, rule_field
from api.rules.rule import Pin, Rule, Selector, selectors
from api.rules.selection import Selection, lacking
from api.types import Pool

_AT_ONCE: Final = 4_000
"""Products that are looked up at once: no more than any catalog takes."""


@dataclass(frozen=True, slots=True)
class Checked:
    """A document that can be applied."""

    warnings: tuple[Fault, ...]
    """What has no effect in this catalog, most likely by a slip."""


async def check(document: Document, catalog: Catalog, where: str) -> Checked:
    """Look at a valid document with a catalog at hand.

    Raises:
        RulesInvalid: rules contradict each other, as the catalog's categories and brands show.
        CatalogUnavailable: the catalog can't be asked.
    """
    ids = sorted(set(_named_products(document.rules)))
    pools = [await _looked_up(catalog, ids[begin : begin + _AT_ONCE]) for begin in range(0, max(len(ids), 1), _AT_ONCE)]

    def holds(selector: Selector, products: frozenset[int]) -> frozenset[int]:
        selection = Selection(selector)
        meant = (pool.product_id[selection.mask(pool)].tolist() for pool in pools)
        return products.intersection(chain.from_iterable(meant))

    if faults := contradictions(document, holds):
        raise RulesInvalid(where, *faults)
    containers = [each.container_id for each in await catalog.containers()]
    named = {name for rule in document.rules for selector in selectors(rule) for name in selector.brands or ()}
    brands = await catalog.known_brands(sorted(named))
    known = pools[0]
    return Checked(
        (
            *_unknown_products(document.rules, pools),
            *(fault for rule in document.rules for fault in _unknown_names(rule, containers, known, brands)),
            *_lacking(document.rules, known),
        )
    )


async def _looked_up(catalog: Catalog, product_ids: Sequence[int]) -> Pool:
    pool = await catalog.lookup(np.array(product_ids, np.int64))
    if pool.partial:
        raise CatalogUnavailable("the products that the rules name can't be looked up now")
    return pool


def _named_products(rules: Iterable[Rule]) -> Iterator[int]:
    for rule in rules:
        if isinstance(rule, Pin):
            yield rule.product
        for selector in selectors(rule):
            yield from selector.ids or ()


def _unknown_products(rules: Iterable[Rule], pools: Iterable[Pool]) -> Iterator[Fault]:
    unknown: set[int] = set()
    for pool in pools:
        if pool.attributes is not None:
            unknown.update(pool.product_id[pool.attributes.row == UNKNOWN].tolist())
    for rule in rules:
        if missing := unknown.intersection(_named_products([rule])):
            examples = ", ".join(map(str, sorted(missing)[:3]))
            yield Fault(rule_field(rule.id), f"the catalog has {len(missing)} of its products not: {examples}")


def _unknown_names(rule: Rule, containers: list[str], known: Pool, brands: Collection[str]) -> Iterator[Fault]:
    columns = Columns() if known.attributes is None else known.attributes.columns
    yield from _strangers(rule, ("scope", "containers"), rule.scope.containers or (), containers)
    if columns.category is not None:
        yield from _strangers(rule, ("scope", "categories"), rule.scope.categories or (), columns.category.number)
    for selector in selectors(rule):
        if columns.category is not None:
            slugs = [each for each in selector.categories or () if isinstance(each, str)]
            yield from _strangers(rule, ("categories",), slugs, columns.category.number)
        if columns.brand is not None:
            strange = [name for name in selector.brands or () if name not in brands]
            yield from _strangers(rule, ("brands",), strange, columns.brand.number)


def _strangers(rule: Rule, field: tuple[str, ...], names: Iterable[str], known: Iterable[str]) -> Iterator[Fault]:
    known = list(known)
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            yield Fault(rule_field(rule.id, *field), f"the catalog has no {name!r}{hint}")


def _lacking(rules: Iterable[Rule], known: Pool) -> Iterator[Fault]:
    for rule in rules:
        for column in lacking(rule, known):
            yield Fault(
                rule_field(rule.id),
                f"needs the products' {column}, which this catalog doesn't have: it does less there",
            )
