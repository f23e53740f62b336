import dataclasses
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from ensemble.data.dataset import Dataset
from ensemble.data.weeks import week_start
from ensemble.errors import RacksortError
from ensemble.evaluation import metrics, split
from ensemble.evaluation.baselines import lightgbm_ranker, ranker_features
from ensemble.evaluation.baselines.lightgbm_ranker import (
    LightGbmRanker,
    RankerCache,
    examples_of,
    training_weeks,
)
from ensemble.evaluation.baselines.popularity import Popularity
from ensemble.evaluation.baselines.ranker_features import features_of, rows_of
from ensemble.evaluation.history import Past, past_of
from ensemble.evaluation.leakage import scramble_from
from ensemble.evaluation.truth import merchandise_of, truth_of
from ensemble.training.snapshot import Snapshot, take_snapshot
from ensemble.training.train import Plan

WEEK = 10


@pytest.fixture(scope="module")
def past(shop: Dataset) -> Past:
    return past_of(shop, WEEK, merchandise_of(shop.products))


@pytest.fixture(scope="module")
def snapshot(past: Past) -> Snapshot:
    return take_snapshot(past.cut, WEEK)


def test_ranked_are_all_of_the_customer_s_own_and_what_everybody_buys(
    past: Past, snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranker_features, "POPULAR", 3)
    candidates = past.merchandise[past.merchandise % 3 > 0]
    rows = rows_of(snapshot, np.array([0, 7]), candidates)
    rate = {
        int(product): float(snapshot.product_feature[place, 0])
        for place, product in enumerate(snapshot.product_id)
        if product in candidates
    }
    popular = set(sorted(rate, key=lambda product: -rate[product])[:3])
    for place in (0, 7):
        customer = int(snapshot.customer_id[place])
        bought = past.cut.purchases.filter(pl.col("customer_id") == customer)["product_id"]
        ranked = snapshot.product_id[rows.product[rows.customer == place]].tolist()
        assert ranked == sorted(popular | set(bought) & set(candidates.tolist()))
    assert rows.customer.tolist() == sorted(rows.customer.tolist())


def test_features_are_those_of_the_purchases(past: Past, snapshot: Snapshot) -> None:
    rows = rows_of(snapshot, np.arange(len(snapshot.customer_id)), past.merchandise)
    feature = features_of(snapshot, past.cut, rows)
    assert len(feature) == len(rows.customer) == 25 * 39  # popular is everything in so small a shop
    plan = past.cut.promotions.filter(pl.col("week") == WEEK)
    for index in range(0, len(feature), 41):
        customer = snapshot.customer_id[rows.customer[index]]
        product = snapshot.product_id[rows.product[index]]
        mine = past.cut.purchases.filter(pl.col("customer_id") == customer)
        age = week_start(WEEK) - mine.filter(pl.col("product_id") == product)["day"].to_numpy()
        trips = week_start(WEEK) - mine["day"].unique().to_numpy()
        if not age.size:
            assert feature[index, :4].tolist() == [0, 0, 0, 0]
            assert np.isnan(feature[index, 4:8]).all()
            continue
        counts = [float((0.5 ** (age / half_life)).sum()) for half_life in (7, 28, 112)]
        assert feature[index, :3] == pytest.approx(counts, rel=0.02)
        assert feature[index, 3:6] == pytest.approx([len(age), age.min(), age.max()], abs=0.01)
        if len(age) > 1:
            assert feature[index, 6] == pytest.approx(max(age.max() - age.min(), 0.5) / (len(age) - 1), abs=0.02)
        shares = [
            count / (0.5 ** (trips / half_life)).sum() for count, half_life in zip(counts, (7, 28, 112), strict=True)
        ]
        assert feature[index, -9:-6] == pytest.approx(shares, rel=0.05)
        assert feature[index, -13:-10].tolist() == [0.0, 0.0, 0.0] or product in plan["product_id"]
        share = share_in_mailer(past.cut, int(customer), int(product))
        assert feature[index, 7] == pytest.approx(share, abs=0.5 / 255 + 1e-6)
        assert feature[index, -10] == pytest.approx(feature[index, 7] * feature[index, -13])


def share_in_mailer(cut: Dataset, customer: int, product: int) -> float:
    """The share of the customer's trips with the product in whose week it was in the mailer."""
    weeks = cut.promotions.filter((pl.col("product_id") == product) & (pl.col("mailer") > 0.2))["week"].to_list()
    mine = cut.purchases.filter((pl.col("customer_id") == customer) & (pl.col("product_id") == product))
    trips = mine.select("day", "week").unique()
    return float(np.mean([week in weeks for week in trips["week"]]))


def test_purchases_in_the_mailer_are_told_where_it_is_in_the_mailer_again(past: Past) -> None:
    always = past.cut.products.select("product_id").join(
        pl.DataFrame({"week": pl.Series([3, 5, WEEK], dtype=pl.Int16)}), how="cross"
    )
    shares = {"mailer": 0.5, "display": 0.0, "coupon": 0.0}
    plan = always.with_columns(pl.lit(share, pl.Float32).alias(name) for name, share in shares.items())
    cut = dataclasses.replace(past.cut, promotions=plan.sort("product_id", "week"))
    snapshot = take_snapshot(cut, WEEK)
    rows = rows_of(snapshot, np.arange(len(snapshot.customer_id)), past.merchandise)
    feature = features_of(snapshot, cut, rows)
    expected = np.array(
        [
            share_in_mailer(cut, int(snapshot.customer_id[customer]), int(snapshot.product_id[product]))
            if feature[index, 3] > 0
            else np.nan
            for index, (customer, product) in enumerate(zip(rows.customer, rows.product, strict=True))
        ]
    )
    assert 0 < np.nanmean(expected) < 1
    np.testing.assert_allclose(feature[:, 7], expected, atol=0.5 / 255 + 1e-6)
    np.testing.assert_allclose(feature[:, -10], expected / 2, atol=0.5 / 255 + 1e-6)


def test_examples_are_labelled_by_what_was_bought_and_know_nothing_of_it(shop: Dataset) -> None:
    data, merchandise = shop.before(9), merchandise_of(shop.products)
    assert training_weeks(data) == (6, 7, 8)
    examples = examples_of(data, merchandise, 99)
    truths = [truth_of(data, week, merchandise) for week in (6, 7, 8)]
    assert examples.label.sum() == sum(
        np.isin(truth.product_id, past_of(data, week, merchandise).trips.product_id).sum()
        for truth, week in zip(truths, (6, 7, 8), strict=True)
    )
    assert examples.query.sum() == len(examples.label) == len(examples.feature)
    assert len(examples.query) == sum(truth.known.sum() for truth in truths)
    # Another last week changes its labels alone.
    other = examples_of(scramble_from(data, 8, seed=3), merchandise, 99)
    earlier = examples.query[: truths[0].known.sum() + truths[1].known.sum()].sum()
    np.testing.assert_array_equal(examples.feature[:earlier], other.feature[:earlier])
    np.testing.assert_array_equal(examples.label[:earlier], other.label[:earlier])
    assert not np.array_equal(examples.label[earlier:][:500], other.label[earlier:][:500])


def test_it_learns_from_the_weeks_that_the_served_models_learn_from(shop: Dataset) -> None:
    weeks = pl.DataFrame({"week": pl.Series(range(1, split.LAST_TRAINING_WEEK + 1), dtype=pl.Int16)})
    assert training_weeks(dataclasses.replace(shop, purchases=weeks)) == Plan().train_weeks


def test_trees_learn_from_training_weeks_alone(shop: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(split, "LAST_TRAINING_WEEK", 7)
    merchandise = merchandise_of(shop.products)

    def grown(data: Dataset) -> str:
        method = LightGbmRanker(cache=RankerCache())
        method.recommend(past_of(data, WEEK, merchandise), np.array([1]), merchandise, 5)
        (grown,) = method.cache.trees.values()
        assert grown.booster is not None
        return str(grown.booster.model_to_string())

    assert grown(shop) == grown(scramble_from(shop, 8, seed=1))
    assert grown(shop) != grown(scramble_from(shop, 7, seed=1))


def test_it_ranks_better_than_popularity(shop: Dataset, past: Past) -> None:
    truth = truth_of(shop, WEEK, past.merchandise)
    ndcg = [
        metrics.per_customer(method.recommend(past, truth.customer_id, past.merchandise, 10), truth)["ndcg@10"].mean()
        for method in (LightGbmRanker(min_data_in_leaf=20), Popularity())
    ]
    assert ndcg[0] > 1.3 * ndcg[1]


def test_settings_share_examples_and_weeks_only_where_nothing_differs(shop: Dataset, past: Past) -> None:
    cache = RankerCache(keep_weeks=True)
    customers = np.arange(1, 26)
    lists = [
        LightGbmRanker(trees=trees, cache=cache).recommend(past, customers, past.merchandise, 5) for trees in (1, 60)
    ]
    assert (len(cache.examples), len(cache.trees), len(cache.weeks)) == (1, 1, 1)
    assert not np.array_equal(*lists)
    other = past_of(scramble_from(shop, 6, seed=2), WEEK, past.merchandise)
    shared = LightGbmRanker(cache=cache).recommend(other, customers, past.merchandise, 5)
    assert (len(cache.examples), len(cache.trees), len(cache.weeks)) == (2, 2, 2)
    assert shared.tolist() == LightGbmRanker().recommend(other, customers, past.merchandise, 5).tolist()


def test_the_first_trees_of_many_are_what_fewer_would_have_been(past: Past, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lightgbm_ranker, "MOST_TREES", 12)
    customers, cache = np.arange(1, 26), RankerCache()
    lists = {}
    for trees in (4, 8, 4, 12):  # the second number asked for has all of them grown
        method = LightGbmRanker(trees=trees, cache=cache)
        lists[trees] = method.recommend(past, customers, past.merchandise, 5)
        (grown,) = cache.trees.values()
        assert grown.trees == (4 if len(lists) == 1 else 12)
    for trees, found in lists.items():
        assert np.array_equal(found, LightGbmRanker(trees=trees).recommend(past, customers, past.merchandise, 5))
    assert not np.array_equal(lists[4], lists[12])


def test_trees_that_another_process_left_are_taken(past: Past, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    customers, folder = np.arange(1, 26), tmp_path / "trees"

    def lists(**settings: int) -> list[list[int]]:
        method = LightGbmRanker(cache=RankerCache(folder=folder), **settings)
        return method.recommend(past, customers, past.merchandise, 5).tolist()  # type: ignore[no-any-return]

    first = lists()
    (left,) = folder.iterdir()
    lists(num_leaves=4)
    assert len(list(folder.iterdir())) == 2
    monkeypatch.setattr(LightGbmRanker, "_grow", lambda *_: pytest.fail("grown again"))
    assert lists() == first
    left.unlink()
    with pytest.raises(pytest.fail.Exception, match="grown again"):
        lists()


def test_trees_that_cannot_be_left_are_one_line(past: Past, tmp_path: Path) -> None:
    (tmp_path / "trees").write_text("a file where the folder should be")
    method = LightGbmRanker(trees=2, cache=RankerCache(folder=tmp_path / "trees"))
    with pytest.raises(RacksortError, match=r"trees: .*; what was finished can't be kept: make room") as error:
        method.recommend(past, np.arange(1, 26), past.merchandise, 5)
    assert "\n" not in str(error.value)


def test_without_weeks_to_learn_from_the_list_is_the_popular(shop: Dataset) -> None:
    bare = dataclasses.replace(shop, purchases=shop.purchases.filter(pl.col("week") == 1))
    past = past_of(bare, 2, merchandise_of(shop.products))
    found = LightGbmRanker().recommend(past, np.array([1, 2]), past.merchandise, 5)
    assert found.tolist() == Popularity(0.5).recommend(past, np.array([1, 2]), past.merchandise, 5).tolist()
