"""A real release's models, made for a week of the reference data, through to what the studies are told."""

import pytest

from ensemble.data.dataset import load
from ensemble.evaluation.experiment import sampled
from ensemble.evaluation.history import past_of
from ensemble.evaluation.releases import open_models
from ensemble.evaluation.served import EnsembleByScore
from ensemble.evaluation.studies.collecting import collect
from ensemble.evaluation.studies.leave_out import shortlisted
from ensemble.evaluation.studies.outputs import WHOLE
from ensemble.evaluation.truth import merchandise_of, truth_of
from ensemble.release import weights_path
from ensemble.training.weights import Trained
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.slow

WEEK = 47


def test_shortlists_give_the_lists_of_the_release_over_the_full_catalogue() -> None:
    data = load()
    trained = Trained.load(weights_path(REPOSITORY, 1))
    merchandise, customers = merchandise_of(data.products), sampled(data, 60)
    past, truth = past_of(data, WEEK, merchandise), truth_of(data, WEEK, merchandise).of(customers)
    with open_models(trained, past) as models:
        week = collect(models, past, truth, customers, trained.settings)
        lists = EnsembleByScore(models).recommend(past, truth.customer_id, past.weeks.product_id, 10)
    settings = trained.settings
    weights = (settings.affinity, settings.demand, settings.preference, 0.0)
    # Rounding may swap two products whose scores are as good as equal.
    assert (shortlisted(week, weights, 10) == lists).mean() > 0.98
    assert week.score.groups[WHOLE].count.sum() == len(week.customer_id) * len(past.weeks.product_id)
    # The blend is fitted to be a probability.
    assert 0.5 < week.score.groups[WHOLE].ratio < 2
