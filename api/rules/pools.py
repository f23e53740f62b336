"""What rules do to scores: a pool with other boosts, made once and ranked like any other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt

from api.rules.compiled import Compiled
from api.rules.rule import Availability, Boost, Bury, Exclude, Pin
from api.rules.selection import Selection
from api.rules.tally import Tally
from api.types import Pool
from ensemble import contract

_MOST_PROMOTED: Final = contract.MAX_CANDIDATES // 2
"""Products from behind the ranked window that rules bring into it."""

_KEPT_OF_A_ROW: Final = 32
"""Bytes that are made of a product wherever its pool is ranked or scrolled: its wire form, or its places by id."""

TOUCH_SCORES: Final = (Exclude, Availability, Pin, Boost, Bury)
"""Rules that decide what is ranked and how."""
_Selects = TypeVar("_Selects", Exclude, Availability, Boost, Bury)


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """The rules of a view that touch scores."""

    excluded: Tally
    within: Tally
    """What availability rules let be shown here."""
    elsewhere: Tally
    """What they let be shown only elsewhere, or at other times."""
    lifts: Tally
    """What is added to whose score."""
    pinned: npt.NDArray[np.int64]
    """Products that must be ranked to be put into their places."""

    @property
    def nbytes(self) -> int:
        """What they hold, in bytes; about."""
        return sum(each.nbytes for each in (self.excluded, self.within, self.elsewhere, self.lifts))

    def hidden(self, pool: Pool) -> npt.NDArray[np.bool_]:
        """The pool's products that may not be shown [n]."""
        hidden = self.elsewhere.meant(pool)
        if not self.elsewhere.empty:
            hidden &= ~self.within.meant(pool)
        return hidden if self.excluded.empty else hidden | self.excluded.meant(pool)


def scores_of(held: Sequence[Compiled], elsewhere: Sequence[Compiled]) -> Scores | None:
    """What rules that hold do to scores, and availability rules that hold ``elsewhere``; None where that is nothing."""
    lifts = [(selection, rule.amount) for selection, rule in selected(held, Boost)]
    lifts += [(selection, -rule.amount) for selection, rule in selected(held, Bury)]
    excluded = selected(held, Exclude)
    pinned = np.array([each.rule.product for each in held if isinstance(each.rule, Pin)], np.int64)
    if not (lifts or excluded or elsewhere or pinned.size):
        return None
    return Scores(
        excluded=_any(excluded),
        within=_any(selected(held, Availability)),
        elsewhere=_any(selected(elsewhere, Availability)),
        lifts=Tally(lifts),
        pinned=pinned,
    )


def selected(rules: Sequence[Compiled], effect: type[_Selects]) -> list[tuple[Selection, _Selects]]:
    """The rules of one effect, and what they select."""
    return [
        (each.selection, each.rule) for each in rules if isinstance(each.rule, effect) and each.selection is not None
    ]


def _any(selected: Iterable[tuple[Selection, Exclude | Availability]]) -> Tally:
    return Tally((selection, 1.0) for selection, _ in selected)


def derived(pool: Pool, scores: Scores) -> Pool:
    """The pool as the rules want it ranked; the same products, in the same order where the same ones are ranked.

    Where a pool is longer than what is ranked, hidden products give up their places in the ranked window, and pinned
    and boosted ones from behind it come in at its end: up to half of it, so that the rest keeps its meaning.
    """
    hidden = scores.hidden(pool)
    lift = scores.lifts.of(pool).astype(np.float32)
    boost = pool.boost + lift  # what is excluded already stays so: minus infinity
    boost[hidden] = contract.EXCLUDED
    if pool.product_id.size <= contract.MAX_CANDIDATES:
        return replace(pool, boost=_frozen(boost))
    order = _window_first(boost == contract.EXCLUDED, np.isin(pool.product_id, scores.pinned), lift > 0)
    if np.array_equal(order[: contract.MAX_CANDIDATES], np.arange(contract.MAX_CANDIDATES)):
        return replace(pool, boost=_frozen(boost))  # nothing comes into the ranked window, and nothing leaves it
    return replace(
        pool,
        product_id=_frozen(pool.product_id[order]),
        category_id=_frozen(pool.category_id[order]),
        offer=_frozen(pool.offer[order]),
        boost=_frozen(boost[order]),
        attributes=None if pool.attributes is None else pool.attributes.taken(order),
    )


def held_by(made: Pool, source: Pool | None) -> int:
    """Bytes that a derived pool holds beside its source, and about those that others keep as long as it lives."""
    rows = made.product_id.size * _KEPT_OF_A_ROW
    if source is not None and made.product_id is source.product_id:  # all but the boosts is shared
        return rows + made.boost.nbytes
    if made.attributes is not None:
        rows += made.attributes.row.nbytes
    return rows + sum(each.nbytes for each in (made.product_id, made.category_id, made.offer, made.boost))


def _window_first(
    hidden: npt.NDArray[np.bool_], pinned: npt.NDArray[np.bool_], lifted: npt.NDArray[np.bool_]
) -> npt.NDArray[np.int64]:
    """Positions of the pool's products: what is ranked, what isn't, what is hidden."""
    shown = np.flatnonzero(~hidden)
    behind = shown[contract.MAX_CANDIDATES :]
    promoted = np.concatenate([behind[pinned[behind]], behind[lifted[behind] & ~pinned[behind]]])[:_MOST_PROMOTED]
    taken = np.zeros(hidden.size, np.bool_)
    taken[promoted] = True
    others = shown[~taken[shown]]
    ranked = min(contract.MAX_CANDIDATES, shown.size) - promoted.size
    # Pinned and boosted products that were in the window stay there: others make room.
    window = others[: contract.MAX_CANDIDATES]
    special = pinned[window] | lifted[window]
    leaving = window[~special][max(0, ranked - int(special.sum())) :]
    stays = window[~np.isin(window, leaving)][:ranked]
    taken[stays] = True
    rest = others[~taken[others]]
    return np.concatenate([stays, promoted, rest, np.flatnonzero(hidden)])


def _frozen(array: npt.NDArray) -> npt.NDArray:  # type: ignore[type-arg]  # whatever it holds
    array.flags.writeable = False
    return array
