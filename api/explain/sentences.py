"""Reasons in plain words, with the figures that a person would ask for next."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from api.explain.evidence import CAPPING, EXCLUDING, Evidence, Explanation, Reason, RuleEffect
from ensemble import contract


class Case(NamedTuple):
    """One product that was asked about."""

    product: Explanation
    last: Explanation | None
    """The last product that the answer shows; None where it shows none."""
    evidence: Evidence
    effects: Sequence[RuleEffect]
    """What rules did to the product."""

    @property
    def where(self) -> str:
        """Where the candidates come from."""
        container_id = self.evidence.query.container_id
        return repr(container_id) if container_id else "the request"

    @property
    def size(self) -> int:
        """Products of the pool."""
        return 0 if self.evidence.pool is None else self.evidence.pool.product_id.size

    @property
    def rules(self) -> str:
        """Those that took the product out."""
        return ", ".join(each.rule for each in self.effects if each.effect in EXCLUDING | CAPPING)


def detail(reason: Reason, case: Case) -> str:
    """Why the product is where it is, or isn't there: one sentence or two."""
    return _SENTENCES[reason](case)


def _shown(case: Case) -> str:
    product = case.product
    return f"It is shown, at place {product.position:,} of {case.evidence.shown:,}{_with_score(product)}."


def _ranked_low(case: Case) -> str:
    product, last, evidence = case.product, case.last, case.evidence
    if product.position is None or last is None:
        return (
            f"The answer comes from source {evidence.source.value!r}, which has {evidence.shown:,} products to show, "
            "and it isn't one of them."
        )
    place = f"It is at place {product.position:,} of {evidence.order.size:,}{_with_score(product)}"
    if last.score_rank is None:
        return (
            f"{place} in the order of source {evidence.source.value!r}, which knows no scores; {evidence.shown:,} are "
            "shown."
        )
    text = f"{place}; the last product shown, at place {evidence.shown:,}, has {_score(last)}"
    if product.score is not None and last.score is not None and product.score > last.score:
        return (
            f"{text}. By its score alone it would be at place {product.score_rank:,}: rules of the list, such as the "
            "discount for more products of one category, have moved it down."
        )
    return f"{text}."


def _beyond_candidates(case: Case) -> str:
    later = ", so that it comes later in the scroll" if case.evidence.pool and case.evidence.pool.scrolls else ""
    return (
        f"It is number {case.product.retrieval_rank:,} of {case.size:,} in the own order of {case.where}, and only the "
        f"first {contract.MAX_CANDIDATES:,} are ranked for the first page{later}."
    )


def _excluded(case: Case) -> str:
    if case.rules:
        return f"It is excluded by rule {case.rules}."
    return "It is excluded by the catalog: its boost is minus infinity."


def _capped(case: Case) -> str:
    product = case.product
    place = "" if product.position is None else f"; it is at place {product.position:,} of {case.evidence.order.size:,}"
    return f"Rule {case.rules} lets no more products of its kind onto the page{place}."


def _not_in_pool(case: Case) -> str:
    query = case.evidence.query
    if not query.container_id:
        return f"The catalog has it, but it isn't among the {case.size:,} products of the request."
    narrowed = f" of category {query.category!r}" if query.category else ""
    return (
        f"The catalog has it, but it isn't among the {case.size:,} products{narrowed} that {case.where} can show now: "
        "it isn't available, or the container's filter or size leaves it out."
    )


def _unknown_product(case: Case) -> str:
    return f"The catalog has no product {case.product.product_id}."


def _undetermined(_case: Case) -> str:
    return "It can't be told: the catalog can't be asked now."


_SENTENCES: Final[Mapping[Reason, Callable[[Case], str]]] = {
    Reason.SHOWN: _shown,
    Reason.RANKED_LOW: _ranked_low,
    Reason.BEYOND_CANDIDATES: _beyond_candidates,
    Reason.EXCLUDED: _excluded,
    Reason.CAPPED: _capped,
    Reason.NOT_IN_POOL: _not_in_pool,
    Reason.UNKNOWN_PRODUCT: _unknown_product,
    Reason.UNDETERMINED: _undetermined,
}


def _with_score(product: Explanation) -> str:
    return "" if product.score_rank is None else f" with {_score(product)}"


def _score(product: Explanation) -> str:
    return "no score, since a model said nothing finite" if product.score is None else f"score {product.score:.3f}"
