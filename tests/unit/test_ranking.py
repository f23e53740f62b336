from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ensemble import contract, ranking
from ensemble.ranking import EXCLUDED, PADDING, UNRANKABLE, RankedBatch, RankingSettings, rank

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Batch:
    """The inputs of ``rank``, [B, N] but for context."""

    product_id: Array
    category_id: Array
    boost: Array
    context: Array
    affinity: Array
    demand: Array
    preference: Array
    novelty: Array
    affinity_weight: Array
    demand_weight: Array

    def rank(self, rules: RankingSettings, *, explain: bool = True) -> RankedBatch:
        return rank(
            self.product_id,
            self.category_id,
            self.boost,
            self.context,
            self.affinity,
            self.demand,
            self.preference,
            self.novelty,
            self.affinity_weight,
            self.demand_weight,
            rules,
            explain=explain,
        )

    def rows(self, which: Any) -> Batch:
        return Batch(*(getattr(self, name)[which] for name in self.__dataclass_fields__))

    def columns(self, order: Array) -> Batch:
        """The same rows with their candidates in another order, [N]."""
        fields = {name: getattr(self, name)[:, order] for name in self.__dataclass_fields__ if name != "context"}
        return replace(self, **fields)

    def paged(self, page_size: float) -> Batch:
        context = self.context.copy()
        context[:, ranking.PAGE_SIZE] = page_size
        return replace(self, context=context)


def make_batch(seed: int, rows: int, columns: int, *, levels: int = 0, categories: int = 6, odd: bool = False) -> Batch:
    """Random rows; ``levels`` > 0 draws scores from so few values that ties abound; ``odd`` adds what isn't finite."""
    rng = np.random.default_rng(seed)

    def scores() -> Array:
        if levels:
            return rng.integers(-levels, levels + 1, (rows, columns)).astype(np.float32) / 2
        return rng.normal(0, 2, (rows, columns)).astype(np.float32)

    def weights() -> Array:
        if levels:
            return rng.choice(np.array([0, 0.5, 1, -1], np.float32), (rows, columns))
        return rng.normal(1, 0.5, (rows, columns)).astype(np.float32)

    product_id = np.stack([rng.permutation(5 * columns)[:columns] + 1 for _ in range(rows)]).astype(np.int64)
    boost = np.where(rng.random((rows, columns)) < 0.1, 1.5, 0.0).astype(np.float32)
    affinity, demand, preference = scores(), scores(), scores()
    affinity_weight, demand_weight = weights(), weights()
    if odd:
        product_id[rng.random((rows, columns)) < 0.1] = PADDING
        boost[rng.random((rows, columns)) < 0.1] = EXCLUDED
        for model in (affinity, demand, preference, affinity_weight, demand_weight):
            for value in (np.nan, np.inf, -np.inf, 3e38, 0):
                model[rng.random((rows, columns)) < 0.02] = value
    novelty = (rng.random((rows, columns)) < 0.5).astype(np.float32)
    novelty[rng.random(rows) < 0.3] = 0  # customers without a history
    category_id = rng.integers(0, categories, (rows, columns)).astype(np.int32)
    context = np.zeros((rows, len(contract.CONTEXT)), np.float32)
    said = (affinity, demand, preference, novelty, affinity_weight, demand_weight)
    return Batch(product_id, category_id, boost, context, *said)


def naive(batch: Batch, row: int, rules: RankingSettings) -> list[int]:
    """One row, a product at a time: the algorithm that ``rank`` claims to equal.

    Each step takes the product with the best score after the discount for those of its category already taken;
    what can't be ranked and what is excluded come last. Then discovery takes a product at a time from that list.
    """
    f32 = np.float32
    scored, excluded, unrankable = [], 0, []
    with np.errstate(all="ignore"):
        for column, product in enumerate(batch.product_id[row].tolist()):
            boost = batch.boost[row, column]
            affinity = f32(batch.affinity[row, column] * batch.affinity_weight[row, column])
            demand = f32(batch.demand[row, column] * batch.demand_weight[row, column])
            score = f32(affinity * f32(rules.affinity))
            score = f32(score + f32(demand * f32(rules.demand)))
            score = f32(score + f32(batch.preference[row, column] * f32(rules.preference)))
            score = f32(f32(score + boost) + f32(rules.bias))
            unseen = bool(batch.novelty[row, column] == 1)
            if product == PADDING or boost == EXCLUDED:
                excluded += 1
            elif not math.isfinite(score):
                unrankable.append(product)
            else:
                scored.append((score, product, int(batch.category_id[row, column]), unseen))
    scored.sort(key=lambda candidate: (-candidate[0], candidate[1]))
    taken: Counter[int] = Counter()
    chosen: list[tuple[int, bool]] = []
    over: list[tuple[Any, int, int]] = []
    waiting = list(scored)
    while waiting:
        heads: dict[int, int] = {}
        for place, (_, _, category, _) in enumerate(waiting):
            heads.setdefault(category or -1 - place, place)  # each product of the unknown category stands alone

        def discounted(place: int) -> Any:
            score, _, category, _ = waiting[place]
            return f32(score + f32(taken[category] * math.log(rules.category_discount)))

        best = max(heads.values(), key=lambda place: (discounted(place), -scored.index(waiting[place])))
        score, product, category, unseen = waiting[best]
        if rules.category_cap and category and taken[category] >= rules.category_cap:
            over.append((discounted(best), -scored.index(waiting[best]), product))
        else:
            chosen.append((product, unseen))
        if category:
            taken[category] += 1
        del waiting[best]
    racked: list[int] = []
    while chosen:
        due = math.floor((len(racked) + 1) * rules.discovery_share + 1e-9)
        shown = sum(seen_before for _, seen_before in taken_unseen(racked, batch, row))
        unseen_left = [place for place, (_, unseen) in enumerate(chosen) if unseen]
        place = unseen_left[0] if shown < due and unseen_left else 0
        racked.append(chosen.pop(place)[0])
    racked += [product for _, _, product in sorted(over, reverse=True)]
    return racked + sorted(unrankable) + [PADDING] * excluded


def taken_unseen(products: list[int], batch: Batch, row: int) -> list[tuple[int, bool]]:
    novelty = dict(zip(batch.product_id[row].tolist(), batch.novelty[row].tolist(), strict=True))
    return [(product, novelty[product] == 1) for product in products]


RULES = st.builds(
    RankingSettings,
    affinity=st.sampled_from([0.0, 0.25, 1.0]),
    demand=st.sampled_from([0.0, 0.5]),
    preference=st.sampled_from([1.0, -0.5]),
    bias=st.sampled_from([0.0, -3.0]),
    category_discount=st.sampled_from([1.0, 0.999, 0.8, 0.5, 1e-3]),
    category_cap=st.integers(0, 4),
    discovery_share=st.sampled_from([0.0, 0.1, 0.2, 0.35, 0.5, 0.9]),
)
SEEDS = st.integers(0, 2**32 - 1)
LEVELS = st.sampled_from([0, 0, 1, 3])


@given(seed=SEEDS, columns=st.integers(0, 40), levels=LEVELS, odd=st.booleans(), rules=RULES)
@settings(max_examples=300, deadline=None)
def test_equals_the_greedy_algorithm(seed: int, columns: int, levels: int, odd: bool, rules: RankingSettings) -> None:
    batch = make_batch(seed, 3, columns, levels=levels, odd=odd)
    ranked = batch.rank(rules).product_id
    for row in range(3):
        assert ranked[row].tolist() == naive(batch, row, rules)


@given(seed=SEEDS, rules=RULES, page_size=st.integers(1, 90), levels=LEVELS, categories=st.sampled_from([2, 8, 120]))
@settings(max_examples=150, deadline=None)
def test_a_page_is_exact_and_the_rest_follows_once(
    seed: int, rules: RankingSettings, page_size: int, levels: int, categories: int
) -> None:
    batch = make_batch(seed, 4, 512, levels=levels, categories=categories, odd=True)
    full = batch.rank(rules).product_id
    paged = batch.paged(page_size).rank(rules).product_id
    np.testing.assert_array_equal(paged[:, :page_size], full[:, :page_size])
    np.testing.assert_array_equal(np.sort(paged, axis=1), np.sort(full, axis=1))
    shown = np.count_nonzero(full, axis=1)
    for row in range(4):
        assert (paged[row, : shown[row]] != PADDING).all()


def test_the_window_is_used_and_orders_the_rest_by_score() -> None:
    batch = make_batch(3, 2, 1024, categories=60)
    rules = RankingSettings()
    ranked = batch.paged(24).rank(rules)
    assert ranked.score is not None
    rest = ranked.score[:, 128:]
    assert (np.diff(rest, axis=1) <= 0).all()
    full = batch.rank(rules)
    assert full.score is not None
    assert not (np.diff(full.score[:, 128:], axis=1) <= 0).all()


def test_a_window_that_proves_nothing_gives_way_to_all_candidates() -> None:
    batch = make_batch(4, 2, 1024)
    one_category = replace(batch, category_id=np.ones_like(batch.category_id)).paged(24)
    one_category.category_id[1, ::2] = 2
    rules = RankingSettings(category_discount=0.5, category_cap=10)
    np.testing.assert_array_equal(one_category.rank(rules).product_id, one_category.paged(0).rank(rules).product_id)


def test_a_window_used_up_by_the_cap_gives_way_to_all_candidates() -> None:
    batch = make_batch(4, 1, 1024)
    best = np.argsort(-batch.preference[0])[:300]
    batch.category_id[:] = np.arange(1024) + 2
    batch.category_id[0, best] = 1
    rules = RankingSettings(affinity=0, demand=0, category_discount=1, category_cap=3)
    paged = batch.paged(10).rank(rules).product_id[:, :10]
    np.testing.assert_array_equal(paged, batch.rank(rules).product_id[:, :10])


def test_a_window_that_just_fails_to_prove_the_page_gives_way() -> None:
    batch = make_batch(6, 1, 256)
    batch.boost[:] = batch.affinity[:] = batch.demand[:] = 0
    batch.product_id[0] = np.arange(1, 257)
    batch.category_id[0] = np.where(np.arange(256) < 64, 1, np.arange(256))
    batch.preference[0] = 9 - np.arange(256) / 1000
    batch.preference[0, :64] = 10 - np.arange(64) / 100
    rules = RankingSettings(category_discount=0.9)
    # Category 1's tenth has 10 - 0.09 + 9 ln(0.9) = 8.96 and its eleventh 8.85; product 65, left out, has 8.936.
    ranked = batch.paged(11).rank(rules).product_id[0, :11]
    assert ranked.tolist() == naive(batch, 0, rules)[:11]
    assert ranked[10] == 65


def test_customers_without_a_history_need_no_more_than_the_window() -> None:
    batch = make_batch(3, 2, 1024, categories=60)
    batch.novelty[:] = 0
    ranked = batch.paged(24).rank(RankingSettings(discovery_share=0.2))
    assert ranked.score is not None
    assert (np.diff(ranked.score[:, 128:], axis=1) <= 0).all()


@pytest.mark.parametrize("page_size", [-1.0, 0.0, 0.4, np.nan, np.inf, 1e9, 256.0])
def test_a_page_size_that_limits_nothing_means_all(page_size: float) -> None:
    batch = make_batch(5, 2, 256)
    rules = RankingSettings(category_cap=2)
    np.testing.assert_array_equal(batch.paged(page_size).rank(rules).product_id, batch.rank(rules).product_id)


@given(seed=SEEDS, rules=RULES, levels=LEVELS, columns=st.sampled_from([24, 256]), page_size=st.sampled_from([0, 8]))
@settings(max_examples=100, deadline=None)
def test_a_row_does_not_depend_on_its_batch_mates(
    seed: int, rules: RankingSettings, levels: int, columns: int, page_size: int
) -> None:
    batch = make_batch(seed, 5, columns, levels=levels, odd=True).paged(page_size)
    batch.context[2, ranking.PAGE_SIZE] = 20
    together = batch.rank(rules)
    for row in range(5):
        alone = batch.rows([row]).rank(rules)
        for field in ("product_id", "score", "component"):
            np.testing.assert_array_equal(getattr(alone, field)[0], getattr(together, field)[row])


@given(seed=SEEDS, rules=RULES, levels=LEVELS, odd=st.booleans())
@settings(max_examples=100, deadline=None)
def test_the_order_of_the_candidates_does_not_matter(seed: int, rules: RankingSettings, levels: int, odd: bool) -> None:
    batch = make_batch(seed, 2, 64, levels=levels, odd=odd)
    order = np.random.default_rng(seed).permutation(64)
    straight, shuffled = batch.rank(rules), batch.columns(order).rank(rules)
    for field in ("product_id", "score", "component"):
        np.testing.assert_array_equal(getattr(straight, field), getattr(shuffled, field))


@given(seed=SEEDS, rules=RULES)
@settings(max_examples=50, deadline=None)
def test_a_score_does_not_depend_on_the_other_candidates(seed: int, rules: RankingSettings) -> None:
    batch = make_batch(seed, 1, 32)
    few = batch.columns(np.arange(8))

    def scores(ranked: RankedBatch) -> dict[int, float]:
        assert ranked.score is not None
        return dict(zip(ranked.product_id[0].tolist(), ranked.score[0].tolist(), strict=True))

    everything = scores(batch.rank(rules))
    assert scores(few.rank(rules)).items() <= everything.items()


@given(seed=SEEDS, rules=RULES, share=st.sampled_from([0.1, 0.2, 0.5]))
@settings(max_examples=100, deadline=None)
def test_every_prefix_keeps_the_discovery_share_and_the_cap(seed: int, rules: RankingSettings, share: float) -> None:
    batch = make_batch(seed, 3, 48)
    ranked = batch.rank(replace(rules, discovery_share=share, category_cap=3, category_discount=0.9)).product_id
    for row in range(3):
        category = dict(zip(batch.product_id[row].tolist(), batch.category_id[row].tolist(), strict=True))
        listed: Counter[int] = Counter()
        proper: list[int] = []
        for product in ranked[row].tolist():
            listed[category[product]] += 1
            if category[product] and listed[category[product]] > 3:
                break
            proper.append(product)
        assert all(listed[name] <= 3 or name in {0, category[ranked[row, len(proper)].item()]} for name in listed)
        unseen = [flag for _, flag in taken_unseen(proper, batch, row)]
        for places in range(1, len(proper) + 1):
            expected = math.floor(places * share + 1e-9)
            assert sum(unseen[:places]) >= min(expected, sum(unseen))


def test_discovery_changes_nothing_for_customers_without_a_history() -> None:
    batch = make_batch(7, 2, 64)
    batch.novelty[:] = 0
    with_share = batch.rank(RankingSettings(discovery_share=0.5)).product_id
    np.testing.assert_array_equal(with_share, batch.rank(RankingSettings()).product_id)


def test_discovery_moves_unseen_products_up_only_as_far_as_needed() -> None:
    batch = make_batch(8, 1, 10, categories=1)
    batch.affinity[:] = batch.demand[:] = batch.boost[:] = 0
    batch.product_id[0] = np.arange(1, 11)
    batch.preference[0] = -np.arange(10)
    batch.novelty[0] = [0, 0, 0, 0, 0, 0, 0, 0, 1, 1]
    ranked = batch.rank(RankingSettings(discovery_share=0.25)).product_id
    assert ranked[0].tolist() == [1, 2, 3, 9, 4, 5, 6, 10, 7, 8]


def test_the_share_is_exact_where_rounding_would_lose_a_place() -> None:
    batch = make_batch(8, 1, 128, categories=1)
    assert 100 * 0.29 < 29
    batch.boost[:] = 0
    batch.preference[0] = -np.arange(128)
    batch.product_id[0] = np.arange(1, 129)
    batch.novelty[0] = np.arange(128) >= 90
    rules = RankingSettings(affinity=0, demand=0, discovery_share=0.29)
    unseen = batch.rank(rules).product_id[0] > 90
    assert np.count_nonzero(unseen[:100]) == 29


def test_negative_zero_is_a_tie_with_zero() -> None:
    batch = make_batch(1, 1, 8, categories=1)
    for array in (batch.affinity, batch.demand, batch.preference, batch.boost):
        array[0] = [0.0, -0.0] * 4
    ranked = batch.rank(RankingSettings(bias=-0.0))
    assert ranked.product_id[0].tolist() == sorted(batch.product_id[0].tolist())


@given(seed=SEEDS, rules=RULES)
@settings(max_examples=100, deadline=None)
def test_components_bias_and_boost_sum_to_the_score(seed: int, rules: RankingSettings) -> None:
    batch = make_batch(seed, 2, 64)
    ranked = batch.rank(rules)
    assert ranked.score is not None
    assert ranked.component is not None
    said = np.stack(
        (
            batch.affinity * batch.affinity_weight * rules.affinity,
            batch.demand * batch.demand_weight * rules.demand,
            batch.preference * rules.preference,
        ),
        axis=2,
    )
    for row in range(2):
        place = [batch.product_id[row].tolist().index(product) for product in ranked.product_id[row].tolist()]
        np.testing.assert_allclose(ranked.component[row], said[row, place], atol=1e-5)
        boost = dict(zip(batch.product_id[row].tolist(), batch.boost[row].tolist(), strict=True))
        boosts = np.array([boost[product] for product in ranked.product_id[row].tolist()])
        total = ranked.component[row].sum(axis=1) + boosts + rules.bias
        np.testing.assert_allclose(total, ranked.score[row], atol=1e-4)


@given(seed=SEEDS, rules=RULES, start=st.floats(-3, 3), slope=st.floats(1, 4), odd=st.booleans())
@settings(max_examples=100, deadline=None)
def test_a_steeper_tail_raises_high_blends_and_leaves_boosts_alone(
    seed: int, rules: RankingSettings, start: float, slope: float, odd: bool
) -> None:
    batch = make_batch(seed, 3, 40, odd=odd)
    steeper = replace(rules, tail_from=start, tail_slope=slope)
    plain, told = by_candidate(batch, rules), by_candidate(batch, steeper)
    assert plain.keys() == told.keys()
    for key, (score, component, boost) in plain.items():
        if score <= UNRANKABLE:
            assert told[key][0] == score
            continue
        blend = float(component.astype(np.float64).sum()) + rules.bias
        more = (slope - 1) * max(blend - start, 0)
        if abs(score) + more > 3e38:
            continue
        scale = max(1.0, float(np.abs(component).max()))
        assert told[key][0] == pytest.approx(score + more, rel=1e-4, abs=1e-5 * scale)
        assert told[key][1][:2].tolist() == component[:2].tolist()
        assert told[key][1][2] - component[2] == pytest.approx(more, rel=1e-3, abs=1e-5 * scale)
        assert told[key][2] == boost


def by_candidate(batch: Batch, rules: RankingSettings) -> dict[tuple[int, int], tuple[float, Array, float]]:
    """Score, components and boost by row and product id."""
    ranked = batch.rank(rules)
    assert ranked.score is not None
    assert ranked.component is not None
    found = {}
    for row, ids in enumerate(ranked.product_id.tolist()):
        boost = dict(zip(batch.product_id[row].tolist(), batch.boost[row].tolist(), strict=True))
        for place, product in enumerate(ids):
            if product != PADDING:
                found[row, product] = (float(ranked.score[row, place]), ranked.component[row, place], boost[product])
    return found


@given(seed=SEEDS, start=st.floats(-3, 3), slope=st.floats(1, 4))
@settings(max_examples=50, deadline=None)
def test_without_boosts_and_rules_a_steeper_tail_orders_nothing_anew(seed: int, start: float, slope: float) -> None:
    batch = make_batch(seed, 3, 40)
    batch.boost[:] = 0
    plain = RankingSettings(category_discount=1)
    steeper = replace(plain, tail_from=start, tail_slope=slope)
    assert (batch.rank(steeper).product_id == batch.rank(plain).product_id).all()


def test_a_steeper_tail_tells_nothing_infinite_that_was_finite() -> None:
    batch = make_batch(2, 1, 4)
    batch.boost[:] = 0
    batch.affinity[0], batch.affinity_weight[0] = -3e38, 1
    batch.preference[0] = [3.3e38, 3e38, 2, 3]
    ranked = batch.rank(RankingSettings(tail_from=0, tail_slope=10))
    assert ranked.component is not None
    assert np.isfinite(ranked.component).all()
    assert ranked.score is not None
    assert np.isfinite(ranked.score).all()


def test_what_is_not_finite_comes_after_all_others_and_is_not_lost() -> None:
    batch = make_batch(9, 1, 8, categories=1)
    batch.product_id[0] = [80, 70, 60, 50, 40, 30, 20, 10]
    batch.boost[:] = 0
    batch.boost[0, 6] = EXCLUDED
    batch.product_id[0, 7] = PADDING
    batch.preference[0, :5] = [np.nan, np.inf, -np.inf, 5, 6]
    batch.demand[0, 5] = np.nan
    ranked = batch.rank(RankingSettings(affinity=0, demand=0.1, bias=1))
    assert ranked.score is not None
    assert ranked.component is not None
    assert ranked.product_id[0].tolist() == [40, 50, 30, 60, 70, 80, PADDING, PADDING]
    assert ranked.score[0, 2:].tolist() == [UNRANKABLE] * 4 + [EXCLUDED] * 2
    assert (ranked.component[0, 2:] == 0).all()


@pytest.mark.parametrize("name", ["affinity", "demand"])
@pytest.mark.parametrize(
    ("signal", "weight"),
    [(1, np.nan), (np.nan, 0), (1, np.inf), (1, -np.inf), (0, np.inf), (-np.inf, 0), (3e38, 10), (0, np.nan)],
)
def test_a_weight_that_is_not_finite_makes_its_candidate_unrankable_alone(
    name: str, signal: float, weight: float
) -> None:
    batch = make_batch(9, 1, 4, categories=1)
    batch.boost[:] = 0
    batch.product_id[0] = [40, 30, 20, 10]
    for model in ("affinity", "demand"):
        getattr(batch, model)[0] = getattr(batch, f"{model}_weight")[0] = 1
    batch.preference[0] = [1, 9, 3, 2]
    getattr(batch, name)[0, 1], getattr(batch, f"{name}_weight")[0, 1] = signal, weight
    ranked = batch.rank(RankingSettings())
    assert ranked.score is not None
    assert ranked.component is not None
    assert ranked.product_id[0].tolist() == [20, 10, 40, 30]
    assert ranked.score[0].tolist() == [5, 4, 3, UNRANKABLE]
    assert ranked.component[0].tolist() == [[1, 1, 3], [1, 1, 2], [1, 1, 1], [0, 0, 0]]


def test_a_weight_of_0_leaves_out_what_its_model_says_of_that_candidate() -> None:
    batch = make_batch(9, 1, 2)
    batch.boost[:] = batch.preference[:] = 0
    batch.affinity[0], batch.affinity_weight[0] = [7, 3], [0, 2]
    batch.demand[0], batch.demand_weight[0] = [1, 5], [-1, 0]
    ranked = batch.rank(RankingSettings(affinity=0.5, demand=3))
    assert ranked.score is not None
    assert ranked.component is not None
    assert ranked.score[0].tolist() == [3, -3]
    assert ranked.component[0].tolist() == [[3, 0, 0], [0, -3, 0]]


@example(seed=0)
@given(seed=SEEDS)
@settings(max_examples=20, deadline=None)
def test_no_explanation_means_the_same_order(seed: int) -> None:
    batch = make_batch(seed, 2, 64, odd=True)
    rules = RankingSettings(category_cap=2, discovery_share=0.2)
    bare = batch.rank(rules, explain=False)
    assert bare.score is None
    assert bare.component is None
    np.testing.assert_array_equal(bare.product_id, batch.rank(rules).product_id)


def test_inputs_are_not_written_to() -> None:
    batch = make_batch(1, 2, 300, odd=True).paged(10)
    before = {name: getattr(batch, name).copy() for name in batch.__dataclass_fields__}
    for name in before:
        getattr(batch, name).flags.writeable = False
    batch.rank(RankingSettings(category_cap=2, discovery_share=0.2))
    for name, array in before.items():
        np.testing.assert_array_equal(getattr(batch, name), array)


def test_category_ids_may_be_any_int32() -> None:
    batch = make_batch(2, 2, 40, categories=4)
    wide = replace(
        batch, category_id=np.where(batch.category_id > 0, batch.category_id + (2**31 - 10), 0).astype(np.int32)
    )
    rules = RankingSettings(category_discount=0.5, category_cap=3)
    np.testing.assert_array_equal(wide.rank(rules).product_id, batch.rank(rules).product_id)


INPUTS = [spec.name for spec in contract.RANKING.inputs if spec.name not in {"product_id", "context"}]


@pytest.mark.parametrize("name", INPUTS)
def test_shapes_that_do_not_match_are_refused(name: str) -> None:
    batch = make_batch(2, 2, 8)
    # A single column or row would be broadcast if the shape weren't checked.
    for wrong in (getattr(batch, name)[:, :4], getattr(batch, name)[:, :1], getattr(batch, name)[:1]):
        with pytest.raises(ValueError, match=r"\[B, N\]"):
            replace(batch, **{name: wrong}).rank(RankingSettings())


def test_a_context_of_other_rows_is_refused() -> None:
    batch = make_batch(2, 2, 8)
    with pytest.raises(ValueError, match="context"):
        replace(batch, context=batch.context[:1]).rank(RankingSettings())


def test_constants_agree_with_the_contract() -> None:
    assert ranking.PADDING == contract.PADDING
    assert ranking.EXCLUDED == contract.EXCLUDED
    assert contract.CONTEXT[ranking.PAGE_SIZE] == "page_size"
    assert ranking.WEIGHTS == contract.COMPONENTS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"category_discount": 0}', "category_discount is 0: give a number above 0"),
        ('{"category_discount": 1.5}', "category_discount"),
        ('{"discovery_share": 1}', "discovery_share"),
        ('{"category_cap": -1}', "category_cap"),
        ('{"category_cap": 2.5}', "category_cap"),
        ('{"preference": NaN}', "preference is nan: give a finite number"),
        ('{"preference": "1"}', "preference"),
        ('{"bias": true}', "bias"),
        ('{"weight": 1}', "unknown field 'weight': use affinity, "),
        ('{"tail_slope": 0.9}', "tail_slope is 0.9: give 1, for none, or more"),
        ('{"tail_from": Infinity}', "tail_from is inf: give a finite number"),
        ("[]", "not a JSON object"),
        ("{", "not valid JSON"),
    ],
)
def test_bad_settings_are_named(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "settings.json"
    file.write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        RankingSettings.load(file)
    assert str(file) in str(caught.value)


def test_missing_settings_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"settings\.json"):
        RankingSettings.load(tmp_path / "settings.json")


def test_settings_survive_their_file(tmp_path: Path) -> None:
    rules = RankingSettings(affinity=0.5, bias=-1.25, category_cap=3, discovery_share=0.2, tail_from=-2, tail_slope=1.5)
    file = tmp_path / "settings.json"
    file.write_text(rules.to_json())
    assert RankingSettings.load(file) == rules
