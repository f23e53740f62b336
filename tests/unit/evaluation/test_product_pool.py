"""Forecasts of demand on planted rates."""

import numpy as np
import pytest

from ensemble.evaluation.studies import demand_baselines, product_pool


def test_the_right_demand_has_skill_and_a_biased_one_is_found_by_its_own_predictions() -> None:
    rng = np.random.default_rng(2)
    rate = np.exp(rng.normal(-0.5, 1.5, 20_000))
    observed = rng.poisson(rate).astype(float)
    slices = {"all": np.ones(len(rate), np.bool_), "few": rng.random(len(rate)) < 0.3}
    right = product_pool.study_of(
        observed, {"model": rate, "biased": 1.5 * rate}, slices, np.arange(len(rate)) % 200, {}
    )
    skill = dict(zip(right.tables[0].columns, right.tables[0].rows[0], strict=True))
    assert skill["low"] > 0
    loss = [demand_baselines.deviance(observed, each).mean() for each in (rate, 1.5 * rate)]
    assert skill["skill"] == pytest.approx(1 - loss[0] / loss[1])
    ratios: dict[str, list[float]] = {"model": [], "biased": []}
    for name, _, number, _, _, ratio in right.tables[2].rows:
        if isinstance(number, int) and number > 500:
            ratios[str(name)].append(float(ratio or 0))
    assert np.abs(np.array(ratios["model"]) - 1).max() < 0.1
    assert min(ratios["biased"]) > 1.3
    assert np.median(ratios["biased"]) == pytest.approx(1.5, abs=0.05)


def test_calibration_is_told_of_each_slice_by_itself() -> None:
    """Right for what isn't promoted and half of what is: in sum, neither could be seen."""
    rng = np.random.default_rng(4)
    promoted = np.arange(20_000) % 4 == 0
    rate = np.exp(rng.normal(0.5, 1.0, len(promoted)))
    observed = rng.poisson(rate * np.where(promoted, 2.0, 1.0)).astype(float)
    slices = {product_pool.ALL: promoted | True, product_pool.PROMOTED: promoted, product_pool.NEWLY: promoted & False}
    study = product_pool.study_of(observed, {"model": rate, "baseline": 2 * rate}, slices, np.arange(20_000) % 200, {})
    titles = [table.title for table in study.tables if "Calibration" in table.title]
    # A slice of nothing has no calibration.
    assert titles == ["Calibration by predicted rate: all products", "Calibration by predicted rate: promoted"]
    assert [plot.title for plot in study.plots] == titles
    for title, expected, right in zip(titles, (20_000, 5_000), ("", "baseline"), strict=True):
        table = next(table for table in study.tables if table.title == title)
        for name in ("model", "baseline"):
            rows = [row for row in table.rows if row[0] == name]
            assert sum(int(str(row[2])) for row in rows) == expected
            ratio = sum(row[2] * row[3] for row in rows) / sum(row[2] * row[4] for row in rows)  # type: ignore[operator]
            assert (ratio == pytest.approx(1, abs=0.05)) == (name == right)
        lines = {line.label: line for line in study.plots[titles.index(title)].lines}
        assert list(lines) == ["model", "baseline"]
        middle = len(lines["model"].x) // 2
        gap = lines["model"].y[middle] - lines["model"].x[middle]
        assert gap == pytest.approx(np.log(2) if right else np.log(1.25), abs=0.15)
