import json
import math
from typing import Any

import pytest

from ensemble.evaluation.studies import STUDIES
from ensemble.evaluation.study import Line, Plot, Study, Table

STUDY = Study(
    key="staleness",
    title="Old tables",
    question="What does a day cost?",
    findings=("Little.",),
    tables=(Table("By age", ("days", "ndcg@10", "note"), ((1, 0.25, None), (7, 0.125, "old")), note="All weeks."),),
    plots=(
        Plot("Loss", "days", "NDCG@10", (Line("one", (1.0, 7.0), (0.5, math.nan), (0.4, 0.0), (0.6, 1.0)),), "bar"),
    ),
)


def test_a_study_survives_json_and_gaps_stay_gaps() -> None:
    record = json.loads(json.dumps(STUDY.to_json(), allow_nan=False))
    again = Study.from_json(record)
    assert again.tables == STUDY.tables
    assert math.isnan(again.plots[0].lines[0].y[1])
    assert again.to_json() == STUDY.to_json()
    assert again.plots[0].kind == "bar"


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"tables": 3},
        {"tables": [{"title": "t", "columns": ["a"], "rows": [[1, 2]], "note": ""}]},
        {"plots": [{"title": "t"}]},
        {"plots": [{"title": "t", "x_label": "", "y_label": "", "lines": [{"label": "l", "x": ["one"]}]}]},
    ],
)
def test_what_is_no_study_is_refused(broken: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="not a study's record"):
        Study.from_json({**STUDY.to_json(), **broken} if broken else {})


def test_rows_and_series_must_fit() -> None:
    with pytest.raises(ValueError, match="a row of 1 cells for 2 columns"):
        Table("t", ("a", "b"), ((1,),))
    with pytest.raises(ValueError, match="same length"):
        Line("l", (1.0,), (1.0, 2.0))
    with pytest.raises(ValueError, match="same length"):
        Line("l", (1.0,), (1.0,), low=(0.0,))


def test_every_study_has_a_name_of_its_own() -> None:
    keys = [key for key, _ in STUDIES]
    assert len(keys) == len(set(keys))
