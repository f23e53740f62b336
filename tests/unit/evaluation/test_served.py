from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
import pytest

from ensemble import contract
from ensemble.data.dataset import Dataset
from ensemble.data.offers import offers_at
from ensemble.data.weeks import week_start
from ensemble.evaluation.history import Past, past_of
from ensemble.evaluation.scoring import Ranked, Tensors, batches_of, windows
from ensemble.evaluation.served import EnsembleAsServed, EnsembleByScore
from ensemble.evaluation.truth import merchandise_of

WEEK, K = 10, 7


class FakeEnsemble:
    """Scores by customer and product alone; serves in an order that isn't the score's, as rules make it."""

    def __init__(self) -> None:
        self.asked: list[Tensors] = []

    @staticmethod
    def score(customer: npt.NDArray[np.int64], product: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        return ((customer * 7919 + product * 104729) % 9973).astype(np.float32)

    def rank_all(self, batches: Iterable[Tensors]) -> Iterator[Ranked]:
        for batch in batches:
            self.asked.append(batch)
            product = np.sort(batch["product_id"], axis=1)[:, ::-1]  # padding last
            score = np.where(product == 0, -np.inf, self.score(batch["customer_id"], product))
            yield Ranked(product, score.astype(np.float32))


@pytest.fixture(scope="module")
def past(shop: Dataset) -> Past:
    return past_of(shop, WEEK, merchandise_of(shop.products))


@pytest.mark.parametrize("width", [3, 10, 1024])
def test_windows_of_any_width_merge_to_the_same_best_products(
    past: Past, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setattr(contract, "MAX_CANDIDATES", width)
    candidates = past.weeks.product_id
    customers = np.arange(1, 131)  # three batches
    heard: list[float] = []
    found = EnsembleByScore(FakeEnsemble(), heard.append).recommend(past, customers, candidates, K)
    score = FakeEnsemble.score(customers[:, None], candidates[None])
    expected = candidates[np.argsort(-score, axis=1, kind="stable")[:, :K]]
    assert found.tolist() == expected.tolist()
    assert heard == pytest.approx([1 / 3, 2 / 3, 1.0])


def test_a_pool_keeps_the_served_order(past: Past) -> None:
    candidates = past.weeks.product_id[:10]
    found = EnsembleAsServed(FakeEnsemble()).recommend(past, np.array([1, 2]), candidates, K)
    assert found.tolist() == [candidates[::-1][:K].tolist()] * 2


def test_a_pool_smaller_than_the_list_is_filled_up(past: Past) -> None:
    found = EnsembleAsServed(FakeEnsemble()).recommend(past, np.array([1]), np.array([4]), K)
    assert found.tolist() == [[4, 0, 0, 0, 0, 0, 0]]


def test_a_pool_larger_than_a_row_is_refused(past: Past, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contract, "MAX_CANDIDATES", 8)
    with pytest.raises(ValueError, match="9 candidates"):
        EnsembleAsServed(FakeEnsemble()).recommend(past, np.array([1]), np.arange(1, 10), K)


def test_requests_follow_the_contract_and_hold_what_is_known_at_the_start_of_the_week(past: Past) -> None:
    fake = FakeEnsemble()
    EnsembleAsServed(fake).recommend(past, np.array([3, 5]), np.array([1, 2, 3]), K)
    (batch,) = fake.asked
    size = {contract.N: contract.BUCKETS[0]}
    for spec in contract.ENSEMBLE_INPUTS:
        assert batch[spec.name].shape == (2, *(size.get(dim, dim) for dim in spec.dims))
    offers = offers_at(past.cut, WEEK).filter(offers_at(past.cut, WEEK)["product_id"] <= 3)
    assert batch["offer"][0, :3].tolist() == offers.select(contract.OFFER).to_numpy().tolist()
    assert not batch["offer"][0, 3:].any()
    assert batch["product_id"][1, :4].tolist() == [1, 2, 3, contract.PADDING]
    assert batch["context"][0].tolist() == [np.float32(week_start(WEEK)), K]
    assert not batch["recent_product_id"].any()


def test_a_candidate_outside_the_catalogue_is_named(past: Past) -> None:
    with pytest.raises(ValueError, match="product 555"):
        windows(past, np.array([1, 555]))


def test_batches_hold_at_most_what_a_call_may(past: Past) -> None:
    fake = FakeEnsemble()
    EnsembleAsServed(fake).recommend(past, np.arange(1, 151), np.array([1, 2]), 1)
    assert [len(batch["customer_id"]) for batch in fake.asked] == [64, 64, 22]
    assert batches_of(np.array([], np.int64)) == []
