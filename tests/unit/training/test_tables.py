from __future__ import annotations

import shutil
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from ensemble import configs, contract
from ensemble.data.dataset import Dataset
from ensemble.data.weeks import week_start
from ensemble.evaluation.direct_scorer import DirectScorer
from ensemble.evaluation.releases import PARITY
from ensemble.evaluation.tables import Tables
from ensemble.release import sample_rows
from ensemble.training.snapshot import Snapshot, take_snapshot
from ensemble.training.weights import Trained
from tests.unit.training.test_leaks import same

WEEK = 12
MIDDLE = week_start(WEEK - 1) + 3.3


def differing(one: Snapshot, other: Snapshot) -> list[str]:
    return [each.name for each in fields(Snapshot) if not same(getattr(one, each.name), getattr(other, each.name))]


@pytest.mark.slow
def test_tables_in_this_process_answer_as_the_release_does(
    shop: Dataset, trained: Trained, repository: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(repository, tmp_path / "repository")
    configs.write(copy, configs.generate(1))
    known = take_snapshot(shop, WEEK)
    rows = sample_rows(known.customer_id, known.product_id, known.product_category, known.cutoff)
    rows = {**rows, contract.BOOST.name: np.zeros(rows[contract.PRODUCT_ID.name].shape, np.float32)}
    (served,) = DirectScorer(copy, 1).rank_all([rows])
    (asked,) = Tables(shop, WEEK, trained).rank_all([rows])
    both = [np.argsort(each.product_id, axis=1, kind="stable") for each in (served, asked)]
    scores = [np.take_along_axis(each.score, at, axis=1) for each, at in zip((served, asked), both, strict=True)]
    real = np.isfinite(scores[0])
    assert real.sum() > 1000
    np.testing.assert_allclose(scores[0][real], scores[1][real], atol=PARITY)


def test_a_snapshot_within_a_week_knows_what_was_bought_until_then_and_nothing_later(shop: Dataset) -> None:
    later = pl.col("day") >= MIDDLE
    changed = replace(
        shop,
        purchases=shop.purchases.with_columns(
            product_id=pl.when(later).then(1000).otherwise("product_id"),
            customer_id=pl.when(later).then(99).otherwise("customer_id"),
        ),
    )
    taken = take_snapshot(shop, WEEK - 1, MIDDLE)
    assert differing(taken, take_snapshot(changed, WEEK - 1, MIDDLE)) == []
    assert taken.cutoff == MIDDLE
    trips = shop.purchases.filter(~later).group_by("customer_id").agg(pl.col("day").n_unique()).sort("customer_id")
    assert taken.customer_id.tolist() == trips["customer_id"].to_list()
    assert taken.trips[:, 7].tolist() == trips["day"].to_list()


def test_a_cutoff_at_the_start_of_a_week_is_the_week_s_own(shop: Dataset) -> None:
    assert differing(take_snapshot(shop, WEEK), take_snapshot(shop, WEEK, week_start(WEEK))) == []


def test_until_keeps_the_plan_of_the_moment_s_week(shop: Dataset) -> None:
    assert shop.until(MIDDLE).promotions["week"].max() == WEEK - 1
    assert shop.until(MIDDLE).purchases["day"].max() < MIDDLE
