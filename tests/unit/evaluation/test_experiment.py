import json
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

import numpy as np
import polars as pl
import pytest

from ensemble import contract
from ensemble.data.dataset import Dataset
from ensemble.evaluation import experiment, markdown, report, split
from ensemble.evaluation.baselines import tuned
from ensemble.evaluation.history import Past, past_of
from ensemble.evaluation.scoring import Scorer
from ensemble.evaluation.truth import merchandise_of
from tests.unit.evaluation.test_served import FakeEnsemble


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short searches on the synthetic shop's weeks."""
    monkeypatch.setattr(split, "VALIDATION_WEEKS", (8, 9))
    monkeypatch.setattr(tuned, "GRIDS", {name: {} for name in tuned.GRIDS} | {"popularity": {"half_life": (1.0, 4.0)}})
    monkeypatch.setattr(report, "DRAWS", 50)


@pytest.mark.usefixtures("small")
def test_an_experiment_judges_every_method_in_every_setting_and_ends_each_week_s_release(shop: Dataset) -> None:
    served: list[tuple[str, int]] = []

    @contextmanager
    def open_fake(past: Past) -> Iterator[Scorer]:
        assert past.cut.purchases["week"].max() == past.week - 1
        served.append(("opened", past.week))
        yield FakeEnsemble()
        served.append(("closed", past.week))

    stages: dict[str, float] = {}
    ticks = count()
    result = experiment.run(shop, open_fake, stages.__setitem__, lambda: float(next(ticks)), weeks=(10, 11))
    assert served == [("opened", 10), ("closed", 10), ("opened", 11), ("closed", 11)]
    assert set(stages.values()) == {1.0}
    assert [setting.name for setting in result.settings][:2] == ["full catalogue", "pool: whole shop"]
    for setting in result.settings:
        assert list(setting.outcomes) == ["ensemble", "popularity", "personal frequency", "TIFU-KNN"]
        customers = len(setting.customer_id)
        for outcome in setting.outcomes.values():
            assert outcome.values["ndcg@10"].shape == (customers,)
            assert 0 < outcome.named <= 39
    full = result.settings[0]
    buyers = shop.purchases.filter(pl.col("product_id") != 40)
    assert len(full.customer_id) == sum(
        buyers.filter(pl.col("week") == week)["customer_id"].n_unique() for week in (10, 11)
    )
    # The fake's scores are noise, the customers have habits.
    means = {name: outcome.values["ndcg@10"].mean() for name, outcome in full.outcomes.items()}
    assert means["personal frequency"] > means["ensemble"]

    figures = report.record(result, shop.source, "personalize_v1 by fake")
    assert json.loads(json.dumps(figures)) == figures
    text = markdown.page(figures)
    assert "**worse than personal frequency**" in text
    assert f"{full.outcomes['TIFU-KNN'].values['recall@10'].mean():.4f}" in text
    assert all(f"| {name} |" in text for name in means)


@pytest.mark.usefixtures("small")
def test_the_baselines_alone_and_a_sample_of_customers(shop: Dataset) -> None:
    result = experiment.run(shop, None, lambda _stage, _part: None, lambda: 0.0, weeks=(10,), customers=8)
    full = result.settings[0]
    assert "ensemble" not in full.outcomes
    assert 0 < np.unique(full.customer_id).size <= 8
    figures = report.record(result, shop.source, None)
    assert figures["tuned"]["popularity"]["tried"] == 3
    assert "no release was judged" in markdown.page(figures)


def test_pools_hold_the_lately_popular_products_of_their_group(shop: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contract, "MAX_CANDIDATES", 5)
    past = past_of(shop, 10, merchandise_of(shop.products))
    settings = experiment.settings_of(past)
    assert list(settings) == ["full catalogue", "pool: whole shop", "pool: grocery", "pool: produce"]
    assert settings["full catalogue"].tolist() == past.weeks.product_id.tolist()
    assert all(len(candidates) == 5 for name, candidates in settings.items() if name.startswith("pool"))
    assert settings["pool: grocery"].max() <= 20 < settings["pool: produce"].min()
