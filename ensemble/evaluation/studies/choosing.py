"""Asks a week's models what weights can be chosen on: the products that get to the top of a list, whatever the weights.

Over the whole catalogue this would take fifty times as long, and choose by lists that differ in nothing that matters:
what isn't a customer's own and isn't popular hardly ever comes to a top.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ensemble import contract
from ensemble.evaluation.history import Past
from ensemble.evaluation.model_outputs import FILTER_SAYS, FilterTables, Models, affinity_table
from ensemble.evaluation.questions import batches, own_and_popular, shelf_at
from ensemble.evaluation.scoring import now_of
from ensemble.evaluation.studies.collecting import begun, components, shortlists
from ensemble.evaluation.studies.outputs import WeekOutputs
from ensemble.evaluation.truth import Truth


def to_choose_on(models: Models, past: Past, truth: Truth) -> WeekOutputs:
    """The outputs of a week to choose settings on: shortlists of the judged customers who bought something, no more.

    On each are the products that the customer has bought before and those that are popular (``own_and_popular``).
    """
    week = begun(models, past, truth, truth.customer_id)
    sold = replace(past, merchandise=week.product_id)
    asked = own_and_popular(sold, truth.customer_id, np.full(len(truth), now_of(past)))
    said = np.zeros((len(asked.product_id), len(FILTER_SAYS)), np.float32)
    for batch in batches(asked, shelf_at(past.cut, past.week)):
        answer = models.outputs(contract.COLLABORATIVE_FILTER, batch.tensors)
        real = batch.place >= 0
        said[batch.place[real]] = np.stack([answer[spec.name][real] for spec in FILTER_SAYS], axis=1)

    at = np.searchsorted(week.product_id, asked.product_id)
    category = week.category[at]
    affinity = week.affinity[asked.row, category]
    unknown = affinity_table(models, past, np.array([contract.ANONYMOUS]), week.affinity.shape[1])[0, category]
    component = components(affinity, unknown, week.demand[at], FilterTables(*said.T))
    listed = (
        (row, asked.product_id[begin:end], component[begin:end])
        for row, (begin, end) in enumerate(zip(asked.start[:-1], asked.start[1:], strict=True))
    )
    return replace(week, shortlists=tuple(shortlists(listed)))
