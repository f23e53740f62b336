"""What an explanation is made of, and what it says. ``docs/ranking.md`` says what scores and components are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from api.ensemble_client import Explained
from api.types import Page, Pool, Query, Ranking, Source
from ensemble import contract

EXCLUDING: Final = frozenset({"exclude", "availability", "hide_bought"})
"""Effects that take a product out."""
CAPPING: Final = frozenset({"cap"})
"""Effects that let others go first."""


@dataclass(frozen=True, slots=True)
class RuleEffect:
    """What one merchandising rule did to one product."""

    rule: str
    """The rule's id."""
    effect: str
    """What such a rule does: ``pin``, ``boost``, ``bury``, or one of ``EXCLUDING`` and ``CAPPING``."""
    from_position: int | None = None
    """Place before the rule, from 1; None where it isn't known or there was none."""
    to_position: int | None = None
    """Place after it; None where it was taken out."""

    def encodable(self) -> dict[str, str | int | None]:
        """As answers show it."""
        return {"rule": self.rule, "effect": self.effect, "from": self.from_position, "to": self.to_position}


Effects: TypeAlias = Mapping[int, Sequence[RuleEffect]]
"""By product."""


class PageRules(Protocol):
    """The merchandising rules that hold for one page: what they do to it, and what they did. A seam."""

    def pool(self, pool: Pool) -> Pool:
        """The pool as it is to be ranked."""
        ...

    def arranged(self, query: Query, pool: Pool, order: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """A ranked order of what :meth:`pool` gave, as it is to be shown; product ids without padding."""
        ...

    def allowed_of(self, ranking: Ranking) -> Ranking | None:
        """A page that was made without a pool, as far as it may be shown; None where that can't be said."""
        ...

    def effects(self, query: Query, pool: Pool, before: npt.NDArray[np.int64], after: npt.NDArray[np.int64]) -> Effects:
        """What rules did to each product of the catalog's ``pool``, given the orders before and after them."""
        ...


RulesOf: TypeAlias = Callable[[Query], PageRules | None]
"""The rules that hold for a query; None where none does."""


def no_rules(_query: Query) -> None:
    """Where there are no rules."""


class Reason(StrEnum):
    """Why a product is where it is, or isn't there."""

    SHOWN = "shown"
    RANKED_LOW = "ranked_low"
    BEYOND_CANDIDATES = "beyond_candidates"
    EXCLUDED = "excluded"
    CAPPED = "capped"
    NOT_IN_POOL = "not_in_pool"
    UNKNOWN_PRODUCT = "unknown_product"
    UNDETERMINED = "undetermined"


@dataclass(frozen=True, slots=True)
class Components:
    """One number for each of ``contract.COMPONENTS``."""

    affinity: float
    demand: float
    preference: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """How one product came to its place; None for what isn't known or has no meaning."""

    product_id: int
    source: Source
    """Which rung of the ladder made the order."""
    position: int | None = None
    """Place in the order as ranked for a page of this length, from 1."""
    score_rank: int | None = None
    """Place among the ranked candidates by score alone, from 1. What lies between it and ``position`` is the work of
    the ranking's own rules (category discount, cap, discovery) and of merchandising rules."""
    retrieval_rank: int | None = None
    """Place in the pool's own order, from 1."""
    score: float | None = None
    """``bias`` + the components + ``boost``."""
    components: Components | None = None
    """What each model adds to the score."""
    shares: Components | None = None
    """The components' absolute values as shares of their sum."""
    boost: float | None = None
    """None for an excluded product."""
    bias: float | None = None
    """What all scores have in common; calibrates them and never changes an order."""
    rules: tuple[Mapping[str, str | int | None], ...] = ()
    """:meth:`RuleEffect.encodable` of each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WhyNot(Explanation):
    """The answer to "why isn't this product shown, or so low?"."""

    reason: Reason
    detail: str
    """One sentence or two, with the figures."""


@dataclass(frozen=True, slots=True)
class ExplainedPage:
    """What the caller gets who asks for explanations."""

    page: Page
    explanations: tuple[Explanation, ...]
    """One for each product of the page, in its order."""
    why_not: WhyNot | None = None
    """None where no product was asked for."""


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """One row's whole order as the ensemble explains it: m candidates, without padding and excluded ones."""

    product_id: npt.NDArray[np.int64]
    """[m], best first."""
    score: npt.NDArray[np.float32]
    """[m], in this order."""
    component: npt.NDArray[np.float32]
    """[m, 3], in this order."""

    @classmethod
    def of(cls, explained: Explained) -> Scored:
        """The only row of an answer, whose padding comes last."""
        count = int(np.count_nonzero(explained.product_id[0] != contract.PADDING))
        return cls(explained.product_id[0, :count], explained.score[0, :count], explained.component[0, :count])

    def score_rank(self) -> npt.NDArray[np.int64]:
        """Each product's place by falling score, ties by rising id, from 1: where the blend alone would put it."""
        ranks = np.empty(self.product_id.size, np.int64)
        ranks[np.lexsort((self.product_id, -self.score))] = np.arange(1, self.product_id.size + 1)
        return ranks


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What an answer was made of."""

    query: Query
    source: Source
    order: npt.NDArray[np.int64]
    """Every product in the order of the answer, best first, as far as the order is known."""
    shown: int
    """How many leading ones the answer has."""
    pool: Pool | None = None
    """The catalog's; None where the candidates couldn't be had."""
    candidates: Pool | None = None
    """The same as it was ranked, after rules have changed it."""
    scored: Scored | None = None
    """None where the ensemble didn't rank."""
    effects: Effects | None = None
    """What rules did."""
