"""Rack and sort: blends what three models say of each candidate, applies the list's rules and sorts, for a whole batch.

This file is copied beside ``model.py`` into every version folder of the ``ranking`` model, so that a version keeps the
code it was published with. Therefore it imports numpy and the standard library only, and runs on Python 3.10 to 3.12
with numpy 1.26 or 2. ``docs/ranking.md`` has the formula, the rules and why one sort equals the greedy algorithm.

A row's answer is made of element-wise and integer operations on that row alone, never of a sum over the batch, so it
doesn't depend on the rows that share its batch.
"""

from __future__ import annotations

import functools
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

PADDING: Final = 0
"""``product_id`` of padding, and of what was excluded when it comes back."""

EXCLUDED: Final = float("-inf")
"""``boost`` that excludes a candidate, and the score of what comes back as ``PADDING``."""

UNRANKABLE: Final = float(np.finfo(np.float32).min)
"""Score of a candidate whose blend isn't finite (a model said NaN or infinity): after all others, but not lost."""

PAGE_SIZE: Final = 1
"""Column of ``context`` that says how many leading products will be shown; 0 = all."""

UNKNOWN_CATEGORY: Final = 0
"""``category_id`` of products without a leaf category; the category rules leave them alone."""

_POSITION_BITS: Final = 16
_POSITION: Final = (1 << _POSITION_BITS) - 1
_TAIL: Final = 1 << (32 + _POSITION_BITS)  # added to a sort key, it moves the product behind all without it
_EXCLUDED_KEY: Final = 0x7F800001  # what _sort_keys makes of minus infinity, above the position
_SEEN_BELOW: Final = 0.5
_WINDOWED_FROM: Final = 256  # candidates; for fewer, the window costs more than it saves
_SMALLEST_WINDOW: Final = 64
_PAGES_PER_WINDOW: Final = 4
WEIGHTS: Final = ("affinity", "demand", "preference")
"""Fields of the settings that weight the components, in the order of the components."""


@dataclass(frozen=True)
class RankingSettings:
    """What a ranking version fixes: the weights of the blend and the rules of the list.

    Raises:
        ValueError: a field is out of its range; the message names the field and what it may be.
    """

    affinity: float = 1.0
    """Weight of the category affinity (a logit), on top of the candidate's own weight for it."""
    demand: float = 1.0
    """Weight of the product pool's demand (the natural log of a lift), on top of the candidate's own weight for it."""
    preference: float = 1.0
    """Weight of the collaborative filter's preference (a logit)."""
    bias: float = 0.0
    """Added to every score; calibrates the blend as a logit and never changes an order."""
    category_discount: float = 0.9
    """gamma, in (0, 1]: each product of its leaf category ahead of it multiplies a product's odds by gamma."""
    category_cap: int = 0
    """Products of one leaf category in the list proper; what exceeds it goes to the end. 0 = no cap."""
    discovery_share: float = 0.0
    """In [0, 1): least share of every prefix of the list for products the customer never bought. 0 = none."""
    tail_from: float = 0.0
    """Blend above which ``tail_slope`` counts."""
    tail_slope: float = 1.0
    """At least 1: what the blend's rise above ``tail_from`` is multiplied by: high scores are log-odds as well then."""

    def __post_init__(self) -> None:
        for name in (*WEIGHTS, "bias", "category_discount", "discovery_share", "tail_from", "tail_slope"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) <= 1e6:
                raise ValueError(f"{name} is {value!r}: give a finite number between -1000000 and 1000000")
        if not 0.0 < self.category_discount <= 1.0:
            raise ValueError(f"category_discount is {self.category_discount!r}: give a number above 0, at most 1")
        if not 0.0 <= self.discovery_share < 1.0:
            raise ValueError(f"discovery_share is {self.discovery_share!r}: give a number from 0 to below 1")
        if isinstance(self.category_cap, bool) or not isinstance(self.category_cap, int) or self.category_cap < 0:
            raise ValueError(f"category_cap is {self.category_cap!r}: give a whole number, 0 for no cap")
        if self.tail_slope < 1.0:
            raise ValueError(f"tail_slope is {self.tail_slope!r}: give 1, for none, or more")

    @property
    def has_rules(self) -> bool:
        """Whether the list's order can differ from the score's."""
        return self.category_discount < 1.0 or self.category_cap > 0 or self.discovery_share > 0.0

    @classmethod
    def from_json(cls, text: str) -> RankingSettings:
        """Settings from the text of ``settings.json``; fields that are left out keep their defaults.

        Raises:
            ValueError: not a JSON object, an unknown field, or a value out of range.
        """
        try:
            fields = json.loads(text)
        except ValueError as error:
            raise ValueError(f"not valid JSON ({error}): write it with `racksort train`") from error
        if not isinstance(fields, dict):
            raise ValueError('not a JSON object: give fields such as {"preference": 1.0}')  # noqa: TRY004 one kind of error
        known = cls.__dataclass_fields__
        unknown = sorted(set(fields) - set(known))
        if unknown:
            raise ValueError(f"unknown field {unknown[0]!r}: use {', '.join(known)}")
        return cls(**fields)

    @classmethod
    def load(cls, path: Path) -> RankingSettings:
        """Settings from a ``settings.json`` file.

        Raises:
            ValueError: the file is missing, unreadable or invalid; the message names the file.
        """
        try:
            return cls.from_json(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ValueError(f"{path}: {error}") from error

    def to_json(self) -> str:
        """The text of ``settings.json``, every field spelled out."""
        return json.dumps(asdict(self), indent=2) + "\n"


@dataclass(frozen=True)
class RankedBatch:
    """B lists of N products, best first; padding and excluded candidates last as ``PADDING``.

    ``score`` is what the list's rules begin with, so that windows ranked apart can be merged by it; it therefore isn't
    always falling. ``component`` holds what affinity, demand and preference add to it, the last with what the tail adds
    (0 where the product is excluded or unrankable). Both are None where no explanation was asked for.
    """

    product_id: npt.NDArray[np.int64]
    """[B, N]."""
    score: npt.NDArray[np.float32] | None
    """[B, N]."""
    component: npt.NDArray[np.float32] | None
    """[B, N, 3]."""


def rank(
    product_id: npt.NDArray[np.int64],
    category_id: npt.NDArray[np.int32],
    boost: npt.NDArray[np.float32],
    context: npt.NDArray[np.float32],
    affinity: npt.NDArray[np.float32],
    demand: npt.NDArray[np.float32],
    preference: npt.NDArray[np.float32],
    novelty: npt.NDArray[np.float32],
    affinity_weight: npt.NDArray[np.float32],
    demand_weight: npt.NDArray[np.float32],
    settings: RankingSettings,
    *,
    explain: bool = True,
) -> RankedBatch:
    """Rank B rows of N candidates each, [B, N] arrays throughout but for ``context`` [B, C].

    Args:
        product_id: candidates; 0 is padding.
        category_id: leaf categories; 0 is unknown.
        boost: added to the score; minus infinity excludes.
        context: see ``PAGE_SIZE``.
        affinity: logit that the customer buys from the leaf category.
        demand: natural log of expected buyers this week over the product's usual number.
        preference: what speaks for the product beside those two, as a logit.
        novelty: 1 where the customer never bought the product, else 0; 0 for customers without a history.
        affinity_weight: how much the affinity counts for this customer and product.
        demand_weight: how much the demand counts for this customer and product.
        settings: weights and rules.
        explain: whether scores and components are wanted.

    Raises:
        ValueError: shapes that don't match, or more candidates than a position can number.
    """
    shape = product_id.shape
    _check_shapes(
        shape, context, category_id, boost, affinity, demand, preference, novelty, affinity_weight, demand_weight
    )
    with np.errstate(all="ignore"):  # models may say anything; the blend deals with what isn't finite
        models = (affinity * affinity_weight, demand * demand_weight, preference)
    score, shown_id = _blend(product_id, boost, models, settings)
    order = _by_score(score, product_id) + _row_starts(shape)
    if settings.has_rules:
        order = _apply_rules(order, score, category_id, novelty, context[:, PAGE_SIZE], settings)
    ranked_id = shown_id.take(order)
    if not explain:
        return RankedBatch(ranked_id, None, None)
    ranked_score = score.take(order)
    component = np.empty((*shape, len(models)), np.float32)
    for column, (name, model) in enumerate(zip(WEIGHTS, models)):  # noqa: B905 strict= costs and is checked above
        component[..., column] = _weighted(model, getattr(settings, name)).take(order)
    if settings.tail_slope > 1.0:
        with np.errstate(all="ignore"):
            blend = component.sum(axis=2) + np.float32(settings.bias)
            component[..., -1] += _tail(blend, settings)
            np.minimum(component[..., -1], np.float32(-UNRANKABLE), out=component[..., -1])  # finite as the score is
    component[ranked_score <= UNRANKABLE] = 0.0
    return RankedBatch(ranked_id, ranked_score, component)


def stretched(blend: npt.NDArray[np.float32], settings: RankingSettings) -> npt.NDArray[np.float32]:
    """Blends of any shape, bias included, with their tail stretched: s + (slope - 1) max(0, s - from).

    One line from the blend to log-odds, as of Platt (1999), is fitted by the many low ones; the few high ones need a
    steeper one.
    """
    return blend if settings.tail_slope == 1.0 else blend + _tail(blend, settings)


def _tail(blend: npt.NDArray[np.float32], settings: RankingSettings) -> npt.NDArray[np.float32]:
    above = np.maximum(blend - np.float32(settings.tail_from), np.float32(0.0))
    above *= np.float32(settings.tail_slope - 1.0)
    return above


def _check_shapes(shape: tuple[int, ...], context: npt.NDArray[Any], *arrays: npt.NDArray[Any]) -> None:
    if len(shape) != 2 or shape[1] > _POSITION or context.shape[0] != shape[0]:
        raise ValueError(f"product_id is {shape}, context {context.shape}: give [B, N <= {_POSITION}] and [B, C]")
    for array in arrays:
        if array.shape != shape:
            raise ValueError(f"an input is {array.shape} where product_id is {shape}: give [B, N] arrays")


def _weighted(model: npt.NDArray[np.float32], weight: float) -> npt.NDArray[np.float32]:
    with np.errstate(all="ignore"):
        return model * np.float32(weight)


def _blend(
    product_id: npt.NDArray[np.int64],
    boost: npt.NDArray[np.float32],
    models: tuple[npt.NDArray[np.float32], ...],
    settings: RankingSettings,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Scores [B, N] with ``EXCLUDED`` and ``UNRANKABLE`` in place, and the ids that come back for them."""
    with np.errstate(all="ignore"):  # models may say anything; what isn't finite is dealt with below
        score = models[0] * np.float32(settings.affinity)
        score += models[1] * np.float32(settings.demand)
        score += models[2] * np.float32(settings.preference)
        score += np.float32(settings.bias + 0.0)  # from here on it is never -0.0, whose key differs from 0.0's
        if settings.tail_slope != 1.0:
            score += _tail(score, settings)
        score += boost
    np.copyto(score, np.float32(UNRANKABLE), where=~np.isfinite(score))
    excluded = boost == EXCLUDED
    excluded |= product_id == PADDING
    np.copyto(score, np.float32(EXCLUDED), where=excluded)
    return score, np.where(excluded, PADDING, product_id)


def _sort_keys(score: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """Keys [B, N] that ascend where the scores (no NaN, no -0.0) descend, with the position in their lowest bits.

    Read as whole numbers, the bits of positive IEEE 754 numbers ascend with them; those of negative ones do once
    all bits but the sign are flipped.
    """
    bits = score.view(np.int32)
    flip = bits >> 31
    flip &= np.int32(0x7FFFFFFF)
    flip ^= bits
    keys = np.multiply(flip, -(1 << _POSITION_BITS), dtype=np.int64)
    keys += _positions(score.shape[1])
    return keys


@functools.lru_cache(maxsize=64)
def _positions(columns: int) -> npt.NDArray[np.int64]:
    return np.arange(columns)


@functools.lru_cache(maxsize=256)
def _row_starts(shape: tuple[int, int]) -> npt.NDArray[np.int64]:
    """What turns positions [B, N] into flat indices, [B, 1]."""
    return (np.arange(shape[0], dtype=np.int64) * shape[1])[:, None]


def _by_score(score: npt.NDArray[np.float32], product_id: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Positions [B, N] by falling score, ties by rising product id.

    A sort of keys that carry their position is several times as fast as an argsort. Ties are rare, so ids are looked
    at only in the rows that have some.
    """
    unsorted = _sort_keys(score)
    keys = np.sort(unsorted, axis=1)
    position = keys & _POSITION
    keys >>= _POSITION_BITS
    ties = keys[:, 1:] == keys[:, :-1]
    ties &= keys[:, 1:] != _EXCLUDED_KEY
    rows = np.flatnonzero(ties.any(axis=1))
    if rows.size:
        by_id = np.argsort(product_id[rows], axis=1, kind="stable")
        keys = np.take_along_axis(unsorted[rows], by_id, axis=1) & ~_POSITION
        keys += _positions(score.shape[1])
        keys.sort(axis=1)
        position[rows] = np.take_along_axis(by_id, keys & _POSITION, axis=1)
    return position


class _Racked(NamedTuple):
    """Rows after category discount and cap: arrays [B, W] in their order, the tail last."""

    order: npt.NDArray[np.int64]
    """Flat indices of the candidates."""
    adjusted: npt.NDArray[np.float32]
    """Discounted scores; they fall up to the tail."""
    tail: npt.NDArray[np.bool_]
    """What exceeds the cap, can't be ranked or is excluded."""
    unseen: npt.NDArray[np.bool_]
    """What discovery may move up."""


def _apply_rules(
    order: npt.NDArray[np.int64],
    score: npt.NDArray[np.float32],
    category_id: npt.NDArray[np.int32],
    novelty: npt.NDArray[np.float32],
    page_size: npt.NDArray[np.float32],
    settings: RankingSettings,
) -> npt.NDArray[np.int64]:
    """The order [B, N] (flat indices, best score first) after category discount, cap and discovery.

    Where only a short page is shown, the rules look at the window of the row's best scores, and the others follow by
    score. Rows whose page the window can't prove exact get the rules over all their candidates.
    """
    columns = order.shape[1]
    if columns < _WINDOWED_FROM:
        return _discover(_rack(order, score, category_id, novelty, settings), settings)
    page, width = _windows(page_size, columns)
    order = order.copy()
    for window in sorted(set(width.tolist())):
        rows = np.flatnonzero(width == window)
        if window < columns:
            racked = _rack(order[rows, :window], score, category_id, novelty, settings)
            first_left_out = score.take(order[rows, window])
            exact = _is_exact(racked, first_left_out, page[rows], novelty[rows], settings)
            order[rows[exact], :window] = _discover(racked, settings)[exact]
            rows = rows[~exact]
        if rows.size:
            order[rows] = _discover(_rack(order[rows], score, category_id, novelty, settings), settings)
    return order


def _windows(page_size: npt.NDArray[np.float32], columns: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Products to show [B], and how many of the best scores to look at for them: a function of the row alone."""
    with np.errstate(invalid="ignore"):
        limited = (page_size >= 1) & (page_size < columns)
    page = np.where(limited, page_size, columns).astype(np.int64)
    steps = np.ceil(np.log2(np.maximum(page * _PAGES_PER_WINDOW, _SMALLEST_WINDOW)))
    width = np.exp2(steps).astype(np.int64)
    width[width > columns // 2] = columns
    return page, width


def _is_exact(
    racked: _Racked,
    first_left_out: npt.NDArray[np.float32],
    page: npt.NDArray[np.int64],
    novelty: npt.NDArray[np.float32],
    settings: RankingSettings,
) -> npt.NDArray[np.bool_]:
    """Rows [B] whose leading ``page`` products are the same as if the rules had seen all candidates.

    Nothing left out can come before a product whose discounted score reaches the best score left out, for discounts
    only lower scores and ties keep the score's order. Discovery needs as many unseen products among those as the
    page reserves, or all there are.
    """
    settled = racked.adjusted >= first_left_out[:, None]
    settled &= ~racked.tail
    exact: npt.NDArray[np.bool_] = np.count_nonzero(settled, axis=1) >= page
    if settings.discovery_share:
        unseen = np.count_nonzero(racked.unseen & settled, axis=1)
        reserved = _quota(novelty.shape[1], settings.discovery_share).take(page - 1)
        short = exact & (unseen < reserved)
        if short.any():
            exact &= ~short | (np.count_nonzero(novelty > _SEEN_BELOW, axis=1) == unseen)
    return exact


def _rack(
    order: npt.NDArray[np.int64],
    score: npt.NDArray[np.float32],
    category_id: npt.NDArray[np.int32],
    novelty: npt.NDArray[np.float32],
    settings: RankingSettings,
) -> _Racked:
    """Rows [B, W] of flat indices, best score first, after category discount and cap.

    Ties of the discounted score keep the score's order, so rounding never swaps two products of one category.
    """
    adjusted = score.take(order)
    tail = adjusted <= UNRANKABLE
    if settings.category_discount < 1.0 or settings.category_cap:
        place = _place_in_category(category_id.take(order))
        adjusted += _discounts(order.shape[1], settings.category_discount).take(place)
        keys = _sort_keys(adjusted)
        if settings.category_cap:
            tail |= place >= settings.category_cap
            keys += np.multiply(tail, _TAIL, dtype=np.int64)
        keys.sort(axis=1)
        keys &= _POSITION
        keys += _row_starts(keys.shape)
        order, adjusted, tail = order.take(keys), adjusted.take(keys), tail.take(keys)
    unseen = ~tail
    if settings.discovery_share:
        unseen &= novelty.take(order) > _SEEN_BELOW
    return _Racked(order, adjusted, tail, unseen)


def _place_in_category(category_id: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    """How many products of the same category are ahead in the row [B, N]; 0 for the unknown category."""
    size = category_id.size
    keys = np.multiply(category_id, 1 << _POSITION_BITS, dtype=np.int64)
    keys += _positions(category_id.shape[1])
    keys.sort(axis=1)
    category = keys >> _POSITION_BITS
    first = np.ones(size + 1, np.bool_)
    np.not_equal(category[:, 1:], category[:, :-1], out=first[:size].reshape(category.shape)[:, 1:])
    bounds = np.flatnonzero(first)
    starts = bounds[:-1]
    keys &= _POSITION
    keys += _row_starts(keys.shape)
    place = np.empty(category.shape, np.int64)
    place.reshape(-1)[keys.reshape(-1)] = np.arange(size) - np.repeat(starts, bounds[1:] - starts)
    place *= category_id != UNKNOWN_CATEGORY
    return place


@functools.lru_cache(maxsize=64)
def _discounts(places: int, gamma: float) -> npt.NDArray[np.float32]:
    """What the r-th product of a category loses, r ln(gamma), for r = 0 ... places - 1."""
    return (np.arange(places) * math.log(gamma)).astype(np.float32)


@functools.lru_cache(maxsize=64)
def _quota(places: int, share: float) -> npt.NDArray[np.int64]:
    """How many of the first 1 ... places products the share reserves: floor(place * share)."""
    quota: npt.NDArray[np.int64] = np.floor(np.arange(1, places + 1) * share + 1e-9).astype(np.int64)
    return quota  # 5 * 0.2 is 1, whatever rounding says


@functools.lru_cache(maxsize=64)
def _latest_places(places: int, share: float) -> npt.NDArray[np.int64]:
    """Index j: the last place (0-based) at which the j-th unseen product (1-based) keeps the share."""
    return np.searchsorted(_quota(places, share), np.arange(places + 1)).astype(np.int64)


def _discover(racked: _Racked, settings: RankingSettings) -> npt.NDArray[np.int64]:
    """The order [B, W] with unseen products moved up just as far as the share of every prefix needs.

    The j-th unseen product lands at the earlier of its own place and its latest place; the others fill the rest in
    their order.
    """
    order, unseen = racked.order, racked.unseen
    if not settings.discovery_share:
        return order
    columns = order.shape[1]
    nth = np.cumsum(unseen, axis=1, dtype=np.int64)
    place = np.minimum(_latest_places(columns, settings.discovery_share).take(nth), _positions(columns))
    place += _row_starts(order.shape)
    taken = np.zeros(order.shape, np.bool_)
    taken.reshape(-1)[place[unseen]] = True
    moved = np.empty_like(order)
    moved[taken] = order[unseen]
    moved[~taken] = order[~unseen]
    return moved
