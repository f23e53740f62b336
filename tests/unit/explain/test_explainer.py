from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.ensemble_client import Explained
from api.explain.evidence import Evidence, Reason, RuleEffect, Scored
from api.explain.explainer import Explainer
from api.types import Pool, Query, Source
from ensemble import contract
from tests.fakes.ensemble import COMPONENT_SHARES, fake_explanation
from tests.unit.api.shelf import make_pool

LOWEST = float(np.finfo(np.float32).min)


def with_boost(pool: Pool, boosts: Mapping[int, float]) -> Pool:
    """The same pool where products have other boosts."""
    boost = pool.boost.copy()
    for product_id, value in boosts.items():
        boost[pool.product_id == product_id] = value
    return Pool(pool.container_id, 1, pool.product_id, pool.category_id, pool.offer, boost)


def scored(product_ids: Sequence[int], scores: Sequence[float], padding: int = 2) -> Scored:
    """The ensemble's answer: so many products, then padding."""
    count = len(product_ids)
    component = np.zeros((1, count + padding, 3), np.float32)
    component[0, :count] = np.outer(np.array(scores, np.float32), COMPONENT_SHARES)
    component[0, :count][np.array(scores) == LOWEST] = 0
    return Scored.of(
        Explained(
            np.array([[*product_ids, *[0] * padding]], np.int64),
            "personalize_v1",
            np.array([[*scores, *[-np.inf] * padding]], np.float32),
            component,
        )
    )


def explainer(pool: Pool | None, ranked: Scored | None, shown: int, **changes: Any) -> Explainer:
    order = changes.pop("order", None)
    if order is None:
        assert ranked is not None
        order = ranked.product_id
    source = Source.POPULARITY if ranked is None else Source.ENSEMBLE
    query = changes.pop("query", Query("shelf", limit=shown))
    return Explainer(Evidence(query, source, np.array(order, np.int64), shown, pool, scored=ranked, **changes))


@given(
    size=st.integers(1, 80),
    customer=st.integers(0, 2**63 - 1),
    limit=st.integers(1, 100),
    boosts=st.dictionaries(st.integers(1, 80), st.sampled_from([-np.inf, -1.0, 0.25])),
)
def test_each_product_has_its_places_and_a_score_that_its_parts_make_up(
    size: int, customer: int, limit: int, boosts: dict[int, float]
) -> None:
    pool = with_boost(make_pool(size), boosts)
    bucket = contract.bucket_for(size)
    ids, boost = (np.pad(each, (0, bucket - size)) for each in (pool.product_id, pool.boost))
    product_id, score, component = fake_explanation(customer, ids, boost)
    ranked = Scored.of(Explained(product_id[None], "personalize_v1", score[None], component[None]))
    explanations = explainer(pool, ranked, min(limit, ranked.product_id.size)).shown()
    assert [each.product_id for each in explanations] == ranked.product_id[:limit].tolist()
    for place, each in enumerate(explanations, start=1):
        assert each.position == each.score_rank == place, "the fake has no rules of its own"
        assert pool.product_id[each.retrieval_rank - 1] == each.product_id  # type: ignore[operator]
        parts, shares = each.components, each.shares
        assert parts is not None
        assert shares is not None
        total = parts.affinity + parts.demand + parts.preference
        assert each.score == pytest.approx(total + each.boost + each.bias, abs=3e-6)
        assert each.bias == pytest.approx(0.0, abs=3e-6)
        assert shares.affinity + shares.demand + shares.preference in (pytest.approx(1.0, abs=3e-6), 0.0)
        assert min(shares.affinity, shares.demand, shares.preference) >= 0.0


def test_what_the_rankings_own_rules_moved_shows_in_the_score_rank() -> None:
    ranked = scored([1, 3, 2, 4], [3.0, 1.0, 2.0, 0.5])
    explained = explainer(make_pool(4), ranked, 4).shown()
    assert [(each.product_id, each.position, each.score_rank) for each in explained] == [
        (1, 1, 1),
        (3, 2, 3),
        (2, 3, 2),
        (4, 4, 4),
    ]


def test_equal_scores_rank_by_id() -> None:
    assert scored([5, 9, 2], [1.0, 1.0, 1.0]).score_rank().tolist() == [2, 3, 1]


def test_a_product_that_no_model_can_score_has_a_place_and_no_score() -> None:
    explained = explainer(make_pool(2), scored([2, 1], [1.0, LOWEST]), 2).shown()
    assert explained[1].score is None
    assert explained[1].components is None
    assert explained[1].score_rank == 2


def why_not(product_id: int, using: Explainer, *, known: bool | None = True) -> tuple[Reason, str]:
    answer = using.why_not(product_id, known=known)
    assert answer.product_id == product_id
    return answer.reason, answer.detail


def test_a_product_that_is_shown() -> None:
    using = explainer(make_pool(4), scored([3, 1, 2, 4], [3.0, 2.0, 1.0, 0.5]), 2)
    assert why_not(1, using) == (Reason.SHOWN, "It is shown, at place 2 of 2 with score 2.000.")


def test_a_product_that_ranks_low_is_compared_with_the_last_one_shown() -> None:
    using = explainer(make_pool(4), scored([3, 1, 2, 4], [3.0, 2.0, 1.0, 0.5]), 2)
    assert why_not(4, using) == (
        Reason.RANKED_LOW,
        "It is at place 4 of 4 with score 0.500; the last product shown, at place 2, has score 2.000.",
    )


def test_a_product_that_the_lists_rules_moved_down_is_told_so() -> None:
    reason, detail = why_not(2, explainer(make_pool(3), scored([1, 3, 2], [3.0, 1.0, 2.0]), 2))
    assert reason is Reason.RANKED_LOW
    assert "By its score alone it would be at place 2" in detail


def test_a_product_past_the_candidates() -> None:
    pool = make_pool(1_100)
    candidates = pool.product_id[:1_024].tolist()
    using = explainer(pool, scored(candidates, [0.0] * 1_024), 24)
    answer = using.why_not(1_030, known=True)
    assert answer.reason is Reason.BEYOND_CANDIDATES
    assert answer.retrieval_rank == 1_030
    assert "number 1,030 of 1,100" in answer.detail


def test_an_excluded_product_has_a_rank_in_the_pool_and_no_boost() -> None:
    pool = with_boost(make_pool(3), {2: -np.inf})
    answer = explainer(pool, scored([3, 1], [2.0, 1.0]), 2).why_not(2, known=True)
    assert answer.reason is Reason.EXCLUDED
    assert "the catalog" in answer.detail
    assert (answer.retrieval_rank, answer.boost, answer.position) == (2, None, None)


@pytest.mark.parametrize(("effect", "reason"), [("exclude", Reason.EXCLUDED), ("cap", Reason.CAPPED)])
def test_the_rule_that_took_a_product_out_is_named(effect: str, reason: Reason) -> None:
    effects = {2: [RuleEffect("no-own-brand", effect, 2)], 1: [RuleEffect("pin", "pin", 2, 1)]}
    using = explainer(make_pool(3), scored([1, 3], [2.0, 1.0]), 2, effects=effects)
    answer = using.why_not(2, known=True)
    assert answer.reason is reason
    assert "no-own-brand" in answer.detail
    assert answer.rules == ({"rule": "no-own-brand", "effect": effect, "from": 2, "to": None},)
    assert using.shown()[0].rules == ({"rule": "pin", "effect": "pin", "from": 2, "to": 1},)


def test_a_product_that_isnt_in_the_pool() -> None:
    using = explainer(make_pool(3), scored([3, 1, 2], [3.0, 2.0, 1.0]), 2)
    reason, detail = why_not(77, using)
    assert reason is Reason.NOT_IN_POOL
    assert "the 3 products that 'shelf' can show now" in detail


def test_a_product_of_another_category_than_asked_for() -> None:
    query = Query("shelf", limit=2, category="herbs")
    _, detail = why_not(77, explainer(make_pool(3), scored([3, 1, 2], [3.0, 2.0, 1.0]), 2, query=query))
    assert "3 products of category 'herbs'" in detail


def test_a_product_that_the_request_didnt_bring() -> None:
    using = explainer(make_pool(3), scored([3, 1, 2], [3.0, 2.0, 1.0]), 2, query=Query(limit=2))
    assert why_not(77, using)[1].endswith("the 3 products of the request.")


def test_a_product_nobody_knows() -> None:
    using = explainer(make_pool(3), scored([3, 1, 2], [3.0, 2.0, 1.0]), 2)
    assert why_not(77, using, known=False) == (Reason.UNKNOWN_PRODUCT, "The catalog has no product 77.")
    assert why_not(77, using, known=None)[0] is Reason.UNDETERMINED


def test_without_the_ensemble_places_are_the_pools_and_nothing_is_scored() -> None:
    using = explainer(make_pool(5), None, 2, order=[1, 2, 3, 4, 5])
    for each in (*using.shown(), using.why_not(4, known=True)):
        assert each.source is Source.POPULARITY
        assert each.position == each.retrieval_rank
        assert each.score is each.components is each.shares is each.score_rank is None
    assert why_not(4, using) == (
        Reason.RANKED_LOW,
        "It is at place 4 of 5 in the order of source 'popularity', which knows no scores; 2 are shown.",
    )


def test_without_a_pool_nothing_is_known_but_what_is_shown() -> None:
    using = explainer(None, None, 2, order=[5, 3])
    assert why_not(5, using)[0] is Reason.SHOWN
    assert why_not(4, using)[0] is Reason.UNDETERMINED


def test_a_page_of_nothing_has_nothing_to_compare_with() -> None:
    assert why_not(4, explainer(make_pool(0), None, 0, order=[]), known=True)[0] is Reason.NOT_IN_POOL
