import dataclasses
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest

from ensemble import contract
from ensemble.data.dataset import Dataset, silent
from ensemble.errors import RacksortError
from ensemble.evaluation import experiment, measuring, metrics, report, split
from ensemble.evaluation.baselines import tuned
from ensemble.evaluation.history import Past, past_of
from ensemble.evaluation.truth import merchandise_of
from tests.unit.evaluation.shops import FEW, VALIDATION_WEEKS, WEEKS, Served, checkpoints
from tests.unit.evaluation.test_study import STUDY


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short searches on the synthetic shop's weeks."""
    monkeypatch.setattr(split, "VALIDATION_WEEKS", VALIDATION_WEEKS)
    monkeypatch.setattr(tuned, "GRIDS", FEW | {"recent popularity": {"half_life": (1.0, 4.0)}})


def means(setting: experiment.Setting) -> dict[str, float]:
    return {name: float(outcome.values[metrics.HEADLINE].mean()) for name, outcome in setting.outcomes.items()}


@pytest.mark.usefixtures("small")
def test_an_experiment_judges_every_method_in_every_setting_and_ends_each_week_s_release(
    shop: Dataset, tmp_path: Path
) -> None:
    served, stages = Served(), dict[str, float]()
    result = measuring.Comparison(shop, served.ensemble(), stages.__setitem__, checkpoints(tmp_path), WEEKS).result()
    assert served.log == [("opened", 10), ("closed", 10), ("opened", 11), ("closed", 11)]
    assert set(stages.values()) == {1.0}
    assert [setting.name for setting in result.settings][:2] == ["full catalogue", "pool: whole shop"]
    for setting in result.settings:
        everybody = ["ensemble", *tuned.GRIDS]
        weakest = min(result.tuned, key=lambda name: result.tuned[name].score)
        departments = [name for name in everybody if name != weakest]
        assert list(setting.outcomes) == (everybody if setting.name in measuring.FOR_ALL else departments)
        customers = len(setting.customer_id)
        for outcome in setting.outcomes.values():
            assert {len(value) for value in outcome.values.values()} == {customers}
            assert 0 < outcome.named <= setting.catalogue <= 39
            assert outcome.values["categories@10"].max() <= 5
            assert 0 < np.nanmean(outcome.values["revenue@10"]) <= 1
    full = result.settings[0]
    buyers = shop.purchases.filter(pl.col("product_id") != 40)
    assert len(full.customer_id) == sum(
        buyers.filter(pl.col("week") == week)["customer_id"].n_unique() for week in (10, 11)
    )
    # The fake's scores are noise, the customers have habits.
    assert means(full)["personal frequency"] > means(full)["ensemble"]
    assert all(seconds > 0 for seconds in result.seconds.values())


@pytest.mark.usefixtures("small")
def test_a_second_run_makes_nothing_again_and_gives_the_same_record(shop: Dataset, tmp_path: Path) -> None:
    first = measuring.Comparison(shop, Served().ensemble(), silent, checkpoints(tmp_path), WEEKS).result()
    served, kept = Served(), checkpoints(tmp_path)
    again = measuring.Comparison(shop, served.ensemble(), silent, kept, WEEKS).result()
    assert served.log == []
    assert kept.recalled == len(list(tmp_path.rglob("*.npz")))
    one, other = (report.record(result, shop.source, "r") for result in (first, again))
    assert one == other
    assert json.loads(json.dumps(one, allow_nan=False)) == one


@pytest.mark.usefixtures("small")
def test_a_baseline_is_made_once_for_all_weeks(shop: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    make = tuned.make
    monkeypatch.setattr(tuned, "make", lambda name, *of: made.append(name) or make(name, *of))
    comparison = measuring.Comparison(shop, None, silent, checkpoints(tmp_path), WEEKS)
    assert comparison.tuned  # what the search makes is another matter
    made.clear()
    comparison.result()
    assert sorted(made) == sorted(tuned.GRIDS)


@pytest.mark.usefixtures("small")
def test_other_weights_are_judged_anew_and_the_baselines_are_not(shop: Dataset, tmp_path: Path) -> None:
    measuring.Comparison(shop, Served().ensemble(weights="a"), silent, checkpoints(tmp_path), WEEKS).result()
    files = set(tmp_path.rglob("*.npz"))
    served = Served()
    measuring.Comparison(shop, served.ensemble(weights="b"), silent, checkpoints(tmp_path), WEEKS).result()
    assert [what for what, _ in served.log] == ["opened", "closed"] * 2
    fresh = {path.name for path in set(tmp_path.rglob("*.npz")) - files}
    assert len(fresh) == 2 * 4
    assert all("ensemble" in name for name in fresh)


@pytest.mark.usefixtures("small")
def test_the_baselines_alone_and_a_sample_of_customers(shop: Dataset, tmp_path: Path) -> None:
    result = measuring.Comparison(shop, None, silent, checkpoints(tmp_path), (10,), customers=8).result()
    full = result.settings[0]
    assert "ensemble" not in full.outcomes
    assert 0 < np.unique(full.customer_id).size <= 8
    figures = report.record(result, shop.source, None)
    assert figures["tuned"]["recent popularity"]["tried"] == 3
    assert figures["settings"]["full catalogue"]["differences"] == []


class Restless:
    """Names others each time, as what depends on the future would."""

    name = "popularity"

    def __init__(self) -> None:
        self.calls = 0

    def recommend(
        self, _past: Past, customer_id: npt.NDArray[np.int64], candidates: npt.NDArray[np.int64], k: int
    ) -> npt.NDArray[np.int64]:
        self.calls += 1
        return np.repeat(np.roll(candidates, self.calls)[None, :k], len(customer_id), axis=0)


@pytest.mark.usefixtures("small")
def test_a_baseline_that_looks_ahead_ends_the_run(
    shop: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    restless, real = Restless(), tuned.make
    monkeypatch.setattr(tuned, "make", lambda name, *of: restless if name == "popularity" else real(name, *of))
    with pytest.raises(RacksortError, match="'popularity' looks ahead"):
        measuring.Comparison(shop, None, silent, checkpoints(tmp_path), (10,)).result()


@pytest.mark.usefixtures("small")
def test_the_record_holds_intervals_differences_and_what_was_studied(shop: Dataset, tmp_path: Path) -> None:
    result = measuring.Comparison(shop, Served().ensemble(), silent, checkpoints(tmp_path), WEEKS).result()
    figures = report.record(dataclasses.replace(result, studies=(STUDY,)), shop.source, "personalize_v1 by fake")
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures
    assert figures["studies"] == [json.loads(json.dumps(STUDY.to_json()))]
    full = result.settings[0]
    recorded = figures["settings"]["full catalogue"]
    for name, mean in means(full).items():
        method = recorded["methods"][name]
        assert method["metrics"]["ndcg@10"]["value"] == pytest.approx(mean, abs=1e-6)
        assert method["catalogue_named@10"] == pytest.approx(
            method["products_named@10"] / recorded["catalogue"], abs=1e-6
        )
    pairs = {pair["baseline"]: pair["ndcg@10"] for pair in recorded["differences"]}
    assert set(pairs) == set(tuned.GRIDS)
    for name, pair in pairs.items():
        assert pair["value"] == pytest.approx(means(full)["ensemble"] - means(full)[name], abs=1e-6)
        assert pair["relative"]["value"] == pytest.approx(means(full)["ensemble"] / means(full)[name] - 1, abs=1e-6)
        assert pair["relative"]["low"] < pair["relative"]["value"] < pair["relative"]["high"]


def test_pools_hold_the_lately_popular_products_of_their_group(shop: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contract, "MAX_CANDIDATES", 5)
    past = past_of(shop, 10, merchandise_of(shop.products))
    settings = experiment.settings_of(past)
    assert list(settings) == ["full catalogue", "pool: whole shop", "pool: grocery", "pool: produce"]
    assert settings["full catalogue"].tolist() == past.weeks.product_id.tolist()
    assert all(len(candidates) == 5 for name, candidates in settings.items() if name.startswith("pool"))
    assert settings["pool: grocery"].max() <= 20 < settings["pool: produce"].min()


@pytest.mark.parametrize("name", tuned.GRIDS)
def test_settings_survive_being_written(name: str) -> None:
    for start in tuned.STARTS[name]:
        tried = [start, *({**start, key: value} for key, values in tuned.GRIDS[name].items() for value in values)]
        for settings in tried:
            again = tuned.restored(name, {key: str(value) for key, value in settings.items()})
            assert again == settings
            assert list(map(type, again.values())) == list(map(type, settings.values()))


def test_settings_that_are_not_tried_any_more_are_refused() -> None:
    with pytest.raises(ValueError, match=r"recent popularity: half_life = 99\.0 isn't tried"):
        tuned.restored("recent popularity", {"half_life": "99.0"})
