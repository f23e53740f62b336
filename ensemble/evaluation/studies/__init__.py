"""Questions beside the headline, one module each: what a run of the evaluation answers besides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ensemble.evaluation.studied import Complete
from ensemble.evaluation.studies import (
    calibration,
    category_affinity,
    cold_start,
    collaborative_filter,
    diversity,
    freshness,
    leave_out,
    product_pool,
    published,
    staleness,
)
from ensemble.evaluation.study import RunStudy

STUDIES: Final[tuple[tuple[str, RunStudy], ...]] = (
    (category_affinity.KEY, category_affinity.run),
    (product_pool.KEY, product_pool.run),
    (collaborative_filter.KEY, collaborative_filter.run),
    (leave_out.KEY, leave_out.run),
    (calibration.KEY, calibration.run),
    (staleness.KEY, staleness.run),
    (freshness.KEY, freshness.run),
    (cold_start.KEY, cold_start.run),
    (diversity.KEY, diversity.run),
    (published.KEY, published.run),
)
"""(key, function) in the order of the report; the key is the study's own."""

COMPLETING: Final[Mapping[str, Complete]] = {collaborative_filter.KEY: collaborative_filter.against_the_field}
"""What is added to studies once the comparison is there."""

OF_THE_SAME_OUTPUTS: Final = frozenset(
    each.KEY for each in (category_affinity, product_pool, collaborative_filter, leave_out, calibration)
)
"""Studies that share what ``kept_outputs`` holds, which takes minutes to make: they belong into one process."""
