"""Pairs of rules that can't both hold on one page: refused with both of them named."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations, islice
from typing import TYPE_CHECKING

from api.errors import MAX_FAULTS, Fault
from api.rules.rule import Availability, Exclude, MinNew, Pin, Rule, Scope, Selector
from api.rules.segments import Segments
from api.rules.windows import Window

if TYPE_CHECKING:
    from api.rules.document import Document

Holds = Callable[[Selector, frozenset[int]], frozenset[int]]
"""Which of some products a selector certainly holds."""


def by_ids(selector: Selector, products: frozenset[int]) -> frozenset[int]:
    """What can be said without a catalog."""
    return products.intersection(selector.ids or ()) if selector.only_ids else frozenset()


def contradictions(document: Document, holds: Holds = by_ids) -> list[Fault]:
    """The contradictions of a document, ``MAX_FAULTS`` at most.

    Args:
        document: whose rules.
        holds: looks into a catalog, where there is one; else selectors of categories and brands aren't looked at.
    """
    return list(islice(_all(document, _Overlap(document.segmentation()), holds), MAX_FAULTS))


class _Overlap:
    """Whether two scopes ever hold for the same request."""

    def __init__(self, segments: Segments) -> None:
        self._segments = segments

    def __call__(self, one: Scope, other: Scope) -> bool:
        return (
            _same_page(one, other)
            and self._segments.meet(one.segments, other.segments)
            and Window(one).meets(Window(other))
        )


def _same_page(one: Scope, other: Scope) -> bool:
    """The caller's own products are a page without a container and without a category."""
    if one.rank and other.rank and one.categories is None and other.categories is None:
        return True
    return _share(one.containers, other.containers) and _share(one.categories, other.categories)


def _share(some: Sequence[str] | None, others: Sequence[str] | None) -> bool:
    if some is None or others is None:
        return some != () and others != ()
    return not set(some).isdisjoint(others)


def _all(document: Document, overlap: _Overlap, holds: Holds) -> Iterator[Fault]:
    pins = [rule for rule in document.rules if isinstance(rule, Pin)]
    yield from _places(pins, overlap)
    yield from _unshowable(pins, document.rules, overlap, holds)
    newness = [rule for rule in document.rules if isinstance(rule, MinNew)]
    for one, other in combinations(newness, 2):
        if overlap(one.scope, other.scope):
            yield _fault(one, other, "both ask for a share of new products on the same pages", "narrow one's scope")


def _places(pins: list[Pin], overlap: _Overlap) -> Iterator[Fault]:
    by_place: defaultdict[int, list[Pin]] = defaultdict(list)
    by_product: defaultdict[int, list[Pin]] = defaultdict(list)
    for pin in pins:
        by_place[pin.position].append(pin)
        by_product[pin.product].append(pin)
    for place, group in by_place.items():
        for one, other in combinations(group, 2):
            if overlap(one.scope, other.scope):
                what = f"both pin a product to place {place} (products {one.product} and {other.product})"
                yield _fault(one, other, what, "move one, or narrow its scope")
    for product, group in by_product.items():
        for one, other in combinations(group, 2):
            if one.position != other.position and overlap(one.scope, other.scope):
                what = f"both pin product {product}, to the places {one.position} and {other.position}"
                yield _fault(one, other, what, "keep one, or narrow its scope")


def _unshowable(pins: list[Pin], rules: Sequence[Rule], overlap: _Overlap, holds: Holds) -> Iterator[Fault]:
    pinned = frozenset(pin.product for pin in pins)
    held = {rule.id: holds(rule.products, pinned) for rule in rules if isinstance(rule, Exclude | Availability)}
    for pin in pins:
        touching = [rule for rule in rules if pin.product in held.get(rule.id, ())]
        for rule in touching:
            if isinstance(rule, Exclude) and overlap(pin.scope, rule.scope):
                what = f"the first pins product {pin.product}, which the second excludes on the same pages"
                yield _fault(pin, rule, what, "remove one, or narrow its scope")
        within = [rule for rule in touching if isinstance(rule, Availability)]
        if within and not any(overlap(pin.scope, rule.scope) for rule in within):
            what = f"the first pins product {pin.product} where the second doesn't let it be shown"
            yield _fault(pin, within[0], what, "let their scopes overlap, or remove one")


def _fault(one: Rule, other: Rule, what: str, remedy: str) -> Fault:
    return Fault(f"rules {one.id!r} and {other.id!r}", f"{what}; {remedy}")
