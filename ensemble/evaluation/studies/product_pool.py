"""Product pool alone: how many customers will buy each product in the coming week, at its offer?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from ensemble.bootstrap import Bootstrap
from ensemble.evaluation.report import SEED
from ensemble.evaluation.studies import demand_baselines
from ensemble.evaluation.studies.comparison import settings_table
from ensemble.evaluation.studies.demand_baselines import Floats, deviance, sales_of
from ensemble.evaluation.studies.kept_outputs import outputs_of
from ensemble.evaluation.studies.outputs import choosing_weeks
from ensemble.evaluation.study import Cell, Line, Plot, Scene, Study, Table
from ensemble.evaluation.tuning import Tuned

KEY: Final = "product_pool"
MODEL: Final = "product pool"
ALL: Final = "all products"
PROMOTED: Final = "promoted"
NEWLY: Final = "newly promoted"
EDGES: Final = (0.0, 0.03, 0.06, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, np.inf)
"""Expected buyers a week that bound the buckets of the calibration."""


def run(scene: Scene) -> Study:
    """Turn the lift of every test week into expected buyers and judge them against tuned forecasts."""
    scene.progress("Demand: tuning the baselines", 0.0)
    sales = sales_of(scene.dataset, scene.merchandise, max(scene.weeks))
    tuned = demand_baselines.tune(sales, choosing_weeks())
    scene.progress("Demand: tuning the baselines", 1.0)
    forecasts = {name: demand_baselines.make(name, sales, each.settings) for name, each in tuned.items()}
    observed: list[Floats] = []
    expected: dict[str, list[Floats]] = {name: [] for name in (MODEL, *forecasts)}
    slices: dict[str, list[npt.NDArray[np.bool_]]] = {ALL: [], PROMOTED: [], NEWLY: []}
    category = []
    for week in scene.weeks:
        said = outputs_of(scene).week(week)
        at = np.searchsorted(sales.product_id, said.product_id)
        observed.append(sales.buyers[at, week - 1])
        category.append(sales.category[at])
        expected[MODEL].append(expected_buyers(scene, week, said.product_id, said.demand))
        for name, forecast in forecasts.items():
            expected[name].append(forecast(sales, week)[at])
        slices[ALL].append(np.ones(len(at), np.bool_))
        slices[PROMOTED].append(sales.state[at, week - 1] > 0)
        slices[NEWLY].append(sales.newly_promoted(week)[at])
    return study_of(
        np.concatenate(observed),
        {name: np.concatenate(parts) for name, parts in expected.items()},
        {name: np.concatenate(parts) for name, parts in slices.items()},
        np.concatenate(category),
        tuned,
    )


def expected_buyers(
    scene: Scene, week: int, product_id: npt.NDArray[np.int64], lift: npt.NDArray[np.float32]
) -> Floats:
    """Expected buyers [P]: e^lift times the long-run weekly rate that the lift is taken over."""
    # torch, which the nets bring along, takes seconds to import.
    from ensemble.models.product_pool import LONG_RUN  # noqa: PLC0415
    from ensemble.training.snapshot import take_snapshot  # noqa: PLC0415

    snapshot = take_snapshot(scene.dataset, week)
    long_run = snapshot.product_feature[np.searchsorted(snapshot.product_id, product_id), LONG_RUN]
    buyers: Floats = np.exp(lift.astype(np.float64) + long_run)
    return buyers


def study_of(
    observed: Floats,
    expected: Mapping[str, Floats],
    slices: Mapping[str, npt.NDArray[np.bool_]],
    category: npt.NDArray[np.int64],
    tuned: Mapping[str, Tuned],
) -> Study:
    """The study from n product-weeks; of ``expected``, the first is the model."""
    draws = Bootstrap(category, SEED)
    losses = {name: deviance(observed, each) for name, each in expected.items()}
    model, *others = expected
    rows: list[tuple[Cell, ...]] = []
    skills: list[tuple[Cell, ...]] = []
    findings = []
    for part, chosen in slices.items():
        for name, each in expected.items():
            total = float(observed[chosen].sum())
            rows.append(
                (
                    part,
                    name,
                    int(chosen.sum()),
                    total,
                    float(losses[name][chosen].mean()) if chosen.any() else None,
                    float(np.abs(observed - each)[chosen].sum()) / total if total else None,
                    float(each[chosen].sum()) / total if total else None,
                )
            )
        for name in others:
            inside = [np.where(chosen, losses[key], np.nan) for key in (model, name)]
            worse = draws.relative(inside[0], inside[1])
            skill, low, high = -worse.value, -worse.high, -worse.low
            skills.append((part, name, skill, low, high))
            verdict = "better than" if low > 0 else "worse than" if high < 0 else "not told apart from"
            findings.append(
                f"Of {part}, {model} is {verdict} {name}: deviance skill {skill:+.3f} [{low:+.3f}, {high:+.3f}]"
            )
    by_slice = {
        part: (observed[chosen], {name: each[chosen] for name, each in expected.items()})
        for part, chosen in slices.items()
        if chosen.any()
    }
    return Study(
        key=KEY,
        title="Product pool alone",
        question="How many customers will buy each product in the coming week, at its offer?",
        findings=tuple(findings),
        tables=(
            Table(
                "Skill of the product pool: 1 - its Poisson deviance / the baseline's",
                ("products", "against", "skill", "low", "high"),
                tuple(skills),
                "Above 0 the model is the better forecast. Intervals from drawing leaf categories with all their "
                "products and weeks. Newly promoted: promoted in the week and in none of the four before.",
            ),
            Table(
                "Forecasts",
                ("products", "forecast", "product-weeks", "buyers", "deviance", "WAPE", "expected / bought"),
                tuple(rows),
                "WAPE: sum of absolute errors over the sum of buyers.",
            ),
            *(calibration_table(part, *each) for part, each in by_slice.items()),
            settings_table("The baselines' settings", tuned, "validation deviance, negative"),
        ),
        plots=tuple(
            Plot(
                _calibration(part),
                "ln of expected buyers",
                "ln of the mean of buyers",
                tuple(_line(name, bought, each) for name, each in forecasts.items()),
                diagonal=True,
            )
            for part, (bought, forecasts) in by_slice.items()
        ),
    )


def buckets(observed: Floats, expected: Floats) -> list[tuple[float, int, float, float]]:
    """Lower edge, number, mean expected and mean observed buyers of each filled bucket of *expected* buyers.

    By the prediction, never by the outcome: among products that happened to sell much, every honest forecast looks too
    low (Tichy et al., "Scaling-aware rating of count forecasts", arXiv 2211.16313).
    """
    place = np.searchsorted(EDGES, expected, side="right") - 1
    return [
        (edge, int(inside.sum()), float(expected[inside].mean()), float(observed[inside].mean()))
        for index, edge in enumerate(EDGES[:-1])
        if (inside := place == index).any()
    ]


def _calibration(part: str) -> str:
    return f"Calibration by predicted rate: {part}"


def calibration_table(part: str, observed: Floats, expected: Mapping[str, Floats]) -> Table:
    """Every forecast's buckets one below the other, of a slice's product-weeks."""
    return Table(
        _calibration(part),
        ("forecast", "expected buyers from", "product-weeks", "expected", "observed", "expected / observed"),
        tuple(
            (name, edge, number, mean, seen, mean / seen if seen else None)
            for name, each in expected.items()
            for edge, number, mean, seen in buckets(observed, each)
        ),
        "Each forecast's product-weeks are grouped by what it expected itself.",
    )


def _line(label: str, observed: Floats, expected: Floats) -> Line:
    points = [(np.log(mean), np.log(seen)) for _, _, mean, seen in buckets(observed, expected) if seen > 0]
    return Line(label, tuple(float(x) for x, _ in points), tuple(float(y) for _, y in points))
