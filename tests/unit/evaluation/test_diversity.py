from __future__ import annotations

import numpy as np
import pytest

from ensemble.bootstrap import Bootstrap
from ensemble.data.dataset import Dataset
from ensemble.data.weeks import week_start
from ensemble.evaluation import metrics, split
from ensemble.evaluation.studies import diversity as study
from ensemble.evaluation.studies.diversity import DEFAULT, SHARES
from ensemble.evaluation.study import Study
from ensemble.training.validation import DISCOUNTS
from ensemble.training.weights import Trained
from tests.unit.evaluation.studied import LEAVES, Newest, Spy, first_figure, scene_of, scramble_products, shop_of

WEEK = 10


@pytest.fixture(autouse=True)
def one_week(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(split, "VALIDATION_WEEKS", (WEEK,))


@pytest.fixture(scope="module")
def single_minded() -> Dataset:
    """Everybody buys twelve products of one leaf category each week; the newest first. Mixing costs hits."""
    lines = []
    for customer in range(1, 11):
        mine = [each for each in range(1, 12 * LEAVES + 1) if each % LEAVES == customer % LEAVES]
        for week in range(5, WEEK + 1):
            lines += [(customer, week_start(week) + 1.0 + place / 100, item) for place, item in enumerate(mine)]
    return shop_of(lines, 12 * LEAVES)


def rows_of(result: Study) -> dict[tuple[str, float], dict[str, float | str | int | None]]:
    (table,) = result.tables
    return {(str(row[0]), float(str(row[1]))): dict(zip(table.columns[2:], row[2:], strict=True)) for row in table.rows}


def test_mixing_costs_hits_where_customers_want_one_kind(
    single_minded: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Close(Newest):
        """Differences of hundredths of a day, which a discount can overcome."""

        def preference(self, customer: int, product: int, events: dict[int, float], day: float) -> float:
            return max(super().preference(customer, product, events, day), 93.5 + product / 1000)

    monkeypatch.setattr(study, "Tables", Close)
    result = study.run(scene_of(single_minded, ()))
    rows = rows_of(result)
    plain = rows["category_discount", 1.0]
    assert (plain["ndcg@10"], plain["leaf categories"], plain["revenue share"]) == pytest.approx((1.0, 1.0, 10 / 12))
    mixed = [float(str(rows["category_discount", gamma]["leaf categories"])) for gamma in reversed(DISCOUNTS)]
    priced = [float(str(rows["category_discount", gamma]["ndcg@10"])) for gamma in reversed(DISCOUNTS)]
    assert mixed == sorted(mixed)
    assert mixed[-1] > 2.0
    assert priced == sorted(priced, reverse=True)
    assert priced[-1] < 0.9
    assert rows["category_cap", 2.0]["leaf categories"] == LEAVES
    assert first_figure(rows["category_cap", 2.0]["ndcg@10 - without rules"]) < -0.3
    new = [float(str(rows["discovery_share", share]["share never bought"])) for share in SHARES]
    assert new == sorted(new)
    assert all(found > share - 1e-6 for found, share in zip(new, SHARES, strict=True))
    assert float(str(rows["MMR's penalty", 1.5]["leaf categories"])) == LEAVES
    # The default is discount 0.9 alone.
    assert rows[DEFAULT, 0.9] == rows["category_discount", 0.9] == rows["discovery_share", 0.0]
    assert result.plots[0].lines[-1].label == DEFAULT
    assert "category_discount 0.9" in result.findings[0]
    caps = {row[1] for row in result.tables[0].rows if row[0] == "category_cap"}
    assert all(isinstance(cap, int) for cap in caps)
    shares = result.plots[1].lines
    assert [line.label for line in shares] == [f"discovery_share {share:g}" for share in SHARES]
    assert [line.x for line in shares] == [(pytest.approx(found),) for found in new]
    found = [float(str(rows["discovery_share", share]["ndcg@10"])) for share in SHARES]
    assert [line.y for line in shares] == [(pytest.approx(each),) for each in found]
    # Nobody buys anything for the first time here: discovery can only cost.
    assert found == sorted(found, reverse=True)
    assert result.findings[-1].startswith("Hits alone would choose discovery_share 0. ")
    for share, each in zip(SHARES[1:], found[1:], strict=True):
        assert (
            f"{share:g} ({rows['discovery_share', share]['share never bought']:.0%}): {each - found[0]:+.4f} ["
            in (result.findings[-1])
        )


@pytest.mark.parametrize(
    ("gains", "own", "best", "kept"),
    [
        # In percent, from no discount to the strongest.
        ((0, 0.1, 0.1, 0.2, 0.1, 0, -0.2, -0.3), 0.9, 0.9, 0.8),
        ((0, 0.1, 0.1, 0.2, 0.1, 0, 0, 0), 0.75, 0.9, 0.7),
        ((0, 0, 0, 0.1, 0.1, -0.1, -0.3, 0.0), 0.97, 0.85, 0.8),
        ((0, -1, -1, -1, -1, -1, -1, -1), 1.0, 1.0, 1.0),
    ],
)
def test_the_best_discount_is_named_and_the_strongest_that_costs_little(
    gains: tuple[float, ...], own: float, best: float, kept: float
) -> None:
    level = {gamma: 1 + gain / 100 for gamma, gain in zip(reversed(DISCOUNTS), gains, strict=True)}
    values = {("category_discount", gamma): {"ndcg@10": np.full(20, each)} for gamma, each in level.items()}
    values["category_cap", 1] = {"ndcg@10": np.full(20, 2.0)}
    told = study._by_hits(values, own, Bootstrap(np.arange(20), seed=0))

    def priced(gamma: float) -> str:
        cost = f"{level[gamma] - 1:+.2%}"
        return f"{gamma:g} ({cost} [{cost}, {cost}])"

    assert f"by NDCG@10 is {priced(best)} against none; the strongest" in told
    assert f"confidence, is {priced(kept)}; the release's own is {priced(own)}." in told


def test_purchases_after_the_moment_change_the_truth_alone(
    shop: Dataset, tiny: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    for dataset in (shop, scramble_products(shop, week_start(WEEK))):
        spy = Spy()
        monkeypatch.setattr(metrics, "per_customer", spy.per_customer)
        result = study.run(scene_of(dataset, (), tiny))
        assert Study.from_json(result.to_json()).findings == result.findings
        seen.append(spy)
    assert all(np.array_equal(*pair) for pair in zip(seen[0].lists, seen[1].lists, strict=True))
    assert not np.array_equal(seen[0].truths[0].product_id, seen[1].truths[0].product_id)
