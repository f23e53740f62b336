"""From what an answer was made of to its explanations. Pure: it asks nothing of anybody."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from api.explain.evidence import (
    CAPPING,
    EXCLUDING,
    Components,
    Evidence,
    Explanation,
    Reason,
    RuleEffect,
    Scored,
    WhyNot,
)
from api.explain.sentences import Case, detail
from ensemble import contract

_UNRANKABLE: Final = np.finfo(np.float32).min
"""Score of a candidate whose blend isn't finite: it comes after all others (docs/ranking.md)."""
_DECIMALS: Final = 6
"""Of scores and components, which are float32."""


_NONE: Final = np.empty(0, np.int64)


class Places:
    """Where products stand in an order, from 1: those of a page are looked up together, any other when it is asked for.

    A grid has many thousand products and a page a few, so that a dictionary of all would take milliseconds.
    """

    def __init__(self, order: npt.NDArray[np.int64], page: npt.NDArray[np.int64]) -> None:
        self._order = order
        rows = np.flatnonzero(np.isin(order, page))
        self._known: dict[int, int] = dict(zip(order[rows].tolist(), (rows + 1).tolist(), strict=True))

    def get(self, product_id: int) -> int | None:
        """The product's place; None where it isn't there."""
        place = self._known.get(product_id)
        if place is None and (rows := np.flatnonzero(self._order == product_id)).size:
            place = self._known[product_id] = int(rows[0]) + 1
        return place


class _Scores:
    """What the ensemble says of each candidate."""

    def __init__(self, scored: Scored) -> None:
        self._row = {each: row for row, each in enumerate(scored.product_id.tolist())}
        self._rank = scored.score_rank()
        self._rankable = scored.score > _UNRANKABLE
        self._score = scored.score.astype(np.float64)
        self._component = scored.component.astype(np.float64)
        size = np.abs(self._component)
        total = size.sum(1, keepdims=True)
        self._share = size / np.where(total, total, 1.0)

    def of(self, product_id: int, boost: float) -> dict[str, Any]:
        """The explanation's fields; none for what isn't a candidate."""
        row = self._row.get(product_id)
        if row is None:
            return {}
        if not self._rankable[row]:
            return {"score_rank": int(self._rank[row])}
        score, component = float(self._score[row]), self._component[row]
        return {
            "score_rank": int(self._rank[row]),
            "score": round(score, _DECIMALS),
            "components": Components(*np.round(component, _DECIMALS).tolist()),
            "shares": Components(*np.round(self._share[row], _DECIMALS).tolist()),
            "bias": round(score - float(component.sum()) - boost, _DECIMALS),
        }


class Explainer:
    """Explains the products of one answer."""

    def __init__(self, evidence: Evidence) -> None:
        self._evidence = evidence
        pool, ranked, scored = evidence.pool, evidence.candidates or evidence.pool, evidence.scored
        shown = evidence.order[: evidence.shown]
        self._position = Places(evidence.order, shown)
        self._retrieval_rank = Places(_NONE if pool is None else pool.product_id, shown)
        self._candidate = Places(_NONE if ranked is None else ranked.product_id, shown)
        self._boost = None if ranked is None else ranked.boost
        self._scores = None if scored is None else _Scores(scored)

    def shown(self) -> tuple[Explanation, ...]:
        """Of each product of the answer, in its order."""
        return tuple(self._explained(each) for each in self._evidence.order[: self._evidence.shown].tolist())

    def in_pool(self, product_id: int) -> bool:
        """Whether the product is a candidate, ranked or not."""
        return self._retrieval_rank.get(product_id) is not None

    def why_not(self, product_id: int, *, known: bool | None) -> WhyNot:
        """Why a product isn't in the answer, or where in it.

        Args:
            product_id: any.
            known: whether the catalog has it; None where that can't be told.
        """
        evidence = self._evidence
        product = self._explained(product_id)
        reason = self._reason(product, known=known)
        last = None if evidence.shown == 0 else self._explained(int(evidence.order[evidence.shown - 1]))
        facts = {name: getattr(product, name) for name in Explanation.__dataclass_fields__}
        said = detail(reason, Case(product, last, evidence, self._effects(product_id)))
        return WhyNot(**facts, reason=reason, detail=said)

    def _explained(self, product_id: int) -> Explanation:
        place = self._candidate.get(product_id)
        boost = None if place is None or self._boost is None else float(self._boost[place - 1])
        return Explanation(
            product_id=product_id,
            source=self._evidence.source,
            position=self._position.get(product_id),
            retrieval_rank=self._retrieval_rank.get(product_id),
            boost=None if boost is None or boost == contract.EXCLUDED else round(boost, _DECIMALS),
            rules=tuple([each.encodable() for each in self._effects(product_id)]),
            **({} if self._scores is None else self._scores.of(product_id, boost or 0.0)),
        )

    def _effects(self, product_id: int) -> Sequence[RuleEffect]:
        return () if self._evidence.effects is None else self._evidence.effects.get(product_id, ())

    def _reason(self, product: Explanation, *, known: bool | None) -> Reason:
        evidence, product_id = self._evidence, product.product_id
        effects = {each.effect for each in self._effects(product_id)}
        gone = product.position is None
        if product.position is not None and product.position <= evidence.shown:
            return Reason.SHOWN
        place = self._candidate.get(product_id)
        excluded = place is not None and self._boost is not None and self._boost[place - 1] == contract.EXCLUDED
        if (gone and effects & EXCLUDING) or excluded:
            return Reason.EXCLUDED
        if effects & CAPPING:
            return Reason.CAPPED
        if product.retrieval_rank is None:
            if evidence.pool is None or known is None:
                return Reason.UNDETERMINED
            return Reason.NOT_IN_POOL if known else Reason.UNKNOWN_PRODUCT
        left_out = place is not None and place > contract.MAX_CANDIDATES
        return Reason.BEYOND_CANDIDATES if left_out else Reason.RANKED_LOW
