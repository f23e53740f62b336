"""The filter beside the comparison's baselines: the same customer-weeks, whatever their order."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from ensemble.evaluation.baselines import tuned
from ensemble.evaluation.checkpoints import Kept
from ensemble.evaluation.experiment import FULL_CATALOGUE, Experiment, Outcome, Setting
from ensemble.evaluation.studied import added
from ensemble.evaluation.studies import COMPLETING
from ensemble.evaluation.studies.collaborative_filter import _SHOWN, FIELD, KEY, MODEL, against_the_field
from ensemble.evaluation.study import Study, Table
from ensemble.evaluation.tuning import Tuned

CUSTOMERS = np.repeat(np.arange(1, 41), 2)
WEEKS = np.tile((47, 48), 40)
FILTER = np.random.default_rng(3).random(80)
"""Of each customer-week."""
STUDY = Study(
    key=KEY,
    title="Collaborative filter alone",
    question="Which?",
    findings=("its own",),
    tables=(Table("its own", ("a",), ((1,),)),),
    values={"customer_id": CUSTOMERS, "week": WEEKS, **dict.fromkeys(_SHOWN, FILTER)},
)
BETTER, WORSE = FILTER + 0.1, FILTER - 0.1


def compared(order: Sequence[int] | np.ndarray, **value: np.ndarray) -> Experiment:
    """Baselines by name whose every metric is the value, and the customer-weeks in an order."""
    ones = np.ones(len(order), np.int64)
    outcomes = {name: Outcome(dict.fromkeys(_SHOWN, each[order]), 1) for name, each in value.items()}
    full = Setting(FULL_CATALOGUE, CUSTOMERS[order], WEEKS[order], ones > 0, ones, 1, 1, outcomes)
    pool = replace(full, name="pool: whole shop", customer_id=ones, outcomes={})
    tuned = {name: Tuned({}, float(each.mean()), 1) for name, each in value.items()}
    return Experiment((pool, full), tuned, (47, 48))


def gaps(study: Study) -> dict[str, tuple[object, ...]]:
    (table,) = (each for each in study.tables if each.title == "Against the baselines of the comparison")
    return {str(row[0]): row[1:] for row in table.rows}


def test_customers_in_another_order_are_aligned_before_they_are_compared() -> None:
    everyone = np.arange(80)
    shuffled = np.random.default_rng(0).permutation(80)
    studies = [against_the_field(STUDY, compared(order, ALS=WORSE, BPR=BETTER)) for order in (everyone, shuffled)]
    for study in studies:
        found = gaps(study)
        # A difference that is the same for all has no width: unless each stands against its own, it would have.
        assert found[f"{MODEL} - ALS"] == (*(pytest.approx(0.1),) * 3, "better than")
        assert found[f"{MODEL} - BPR"] == (*(pytest.approx(-0.1),) * 3, "worse than")
        assert study.findings[0].startswith(f"{MODEL} is worse than BPR: NDCG@10 -0.1000 [")
        assert study.findings[-1] == "its own"
        assert study.tables[-1] == STUDY.tables[0]
    assert studies[0].tables == studies[1].tables


def test_only_its_own_field_is_compared_the_strongest_on_the_validation_weeks_first() -> None:
    study = against_the_field(STUDY, compared(np.arange(80), popularity=WORSE, LightGBM=BETTER, ALS=WORSE, BPR=BETTER))
    assert list(gaps(study)) == [f"{MODEL} - BPR", f"{MODEL} - ALS"]
    (beside,) = (table for table in study.tables if table.title == "Beside the baselines of the comparison")
    assert [row[:2] for row in beside.rows] == [
        (name, pytest.approx(each.mean())) for name, each in ((MODEL, FILTER), ("BPR", BETTER), ("ALS", WORSE))
    ]


def test_a_comparison_without_the_field_leaves_the_study_as_it_was() -> None:
    assert against_the_field(STUDY, compared(np.arange(80), popularity=WORSE)) == STUDY


@pytest.mark.parametrize("order", [np.arange(79), np.append(np.arange(79), 0)])
def test_other_customer_weeks_are_refused(order: np.ndarray) -> None:
    with pytest.raises(ValueError, match="other customers, or in other weeks"):
        against_the_field(STUDY, compared(order, ALS=WORSE))


def test_what_is_kept_of_the_study_is_joined_with_the_comparison_and_the_record_holds_no_arrays() -> None:
    kept = Kept(STUDY.to_json(), dict(STUDY.values), seconds=2.0)
    (study,) = added(compared(np.arange(80), ALS=WORSE), [kept], COMPLETING).studies
    assert list(gaps(study)) == [f"{MODEL} - ALS"]
    assert "values" not in study.to_json()
    (alone,) = added(compared(np.arange(80), ALS=WORSE), [kept]).studies
    assert alone == STUDY


def test_the_field_is_of_baselines_that_there_are() -> None:
    # One by another name would be left out without a word.
    assert set(FIELD) <= set(tuned.names())
