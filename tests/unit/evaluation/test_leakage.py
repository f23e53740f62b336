from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest

from ensemble.data.dataset import Dataset
from ensemble.errors import RacksortError
from ensemble.evaluation import leakage
from ensemble.evaluation.baselines import lightgbm_ranker
from ensemble.evaluation.baselines.personal_frequency import PersonalFrequency
from ensemble.evaluation.baselines.popularity import Popularity
from ensemble.evaluation.baselines.tuned import GRIDS, STARTS, make
from ensemble.evaluation.history import Past, past_of
from ensemble.evaluation.leakage import check_no_lookahead, scramble_from
from ensemble.evaluation.truth import merchandise_of

WEEK = 10
CUSTOMERS = np.arange(1, 26)


@dataclass(frozen=True)
class Clairvoyant:
    """Counts what customers buy in the very week that it predicts."""

    everything: Dataset
    name: str = "clairvoyant"

    def recommend(
        self, past: Past, customer_id: npt.NDArray[np.int64], candidates: npt.NDArray[np.int64], k: int
    ) -> npt.NDArray[np.int64]:
        peek = past_of(self.everything, past.week + 1, past.merchandise)
        return PersonalFrequency(half_life=0.5).recommend(peek, customer_id, candidates, k)


@pytest.mark.parametrize("name", GRIDS)
def test_the_baselines_do_not_look_ahead(shop: Dataset, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lightgbm_ranker, "MOST_TREES", 20)  # hundreds take long and show no more
    method = make(name, STARTS[name][0])
    check_no_lookahead(lambda _: method, shop, WEEK, CUSTOMERS, merchandise_of(shop.products))


def test_a_method_that_keeps_the_future_is_caught(shop: Dataset) -> None:
    with pytest.raises(RacksortError, match=r"'clairvoyant' looks ahead: .* from week 10 on"):
        check_no_lookahead(Clairvoyant, shop, WEEK, CUSTOMERS, merchandise_of(shop.products))


def test_of_many_customers_a_draw_is_asked(shop: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leakage, "CUSTOMERS", 7)
    with pytest.raises(RacksortError, match=r"the lists of \d of 7 customers"):
        check_no_lookahead(Clairvoyant, shop, WEEK, CUSTOMERS, merchandise_of(shop.products))


def test_a_cut_that_lets_the_week_itself_through_is_caught(shop: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    def off_by_one(self: Dataset, week: int) -> Dataset:
        return Dataset(self.purchases.filter(pl.col("week") <= week), self.products, self.promotions, self.source)

    monkeypatch.setattr(Dataset, "before", off_by_one)
    with pytest.raises(RacksortError, match="looks ahead"):
        check_no_lookahead(lambda _: Popularity(), shop, WEEK, CUSTOMERS, merchandise_of(shop.products))


def test_scrambling_changes_the_future_alone(shop: Dataset) -> None:
    scrambled = scramble_from(shop, WEEK, seed=1)
    assert scrambled.before(WEEK).purchases.equals(shop.before(WEEK).purchases)
    assert scrambled.before(WEEK).promotions.equals(shop.before(WEEK).promotions)
    future = pl.col("week") >= WEEK
    before, after = shop.purchases.filter(future), scrambled.purchases.filter(future)
    assert not before.equals(after)
    assert before["product_id"].sort().equals(after["product_id"].sort())
