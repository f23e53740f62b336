from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from ensemble.data import weeks
from ensemble.data.promotions import plan_by_week
from tests.unit.data.reference import moment

NO_COUPONS: dict[str, list[int]] = {"coupon_upc": [], "product_id": [], "campaign_id": []}
NO_CAMPAIGNS: dict[str, list[object]] = {"campaign_id": [], "campaign_type": [], "start_date": [], "end_date": []}
NO_ROWS: list[tuple[int, int, str, str, int]] = []


def plan(
    folder: Path,
    rows: list[tuple[int, int, str, str, int]],
    visits: list[tuple[int, int, int]],
    coupons: dict[str, list[int]] | None = None,
    campaigns: dict[str, list[object]] | None = None,
) -> dict[tuple[int, int], tuple[float, float, float]]:
    pl.DataFrame(
        rows,
        schema={
            "product_id": pl.Int64,
            "store_id": pl.Int64,
            "display_location": pl.String,
            "mailer_location": pl.String,
            "week": pl.Int64,
        },
        orient="row",
    ).write_parquet(folder / "promotions.parquet")
    pl.DataFrame(
        coupons or NO_COUPONS, schema_overrides={"product_id": pl.Int64, "campaign_id": pl.Int64}
    ).write_parquet(folder / "coupons.parquet")
    pl.DataFrame(
        campaigns or NO_CAMPAIGNS,
        schema={
            "campaign_id": pl.Int64,
            "campaign_type": pl.String,
            "start_date": pl.Datetime("ns"),
            "end_date": pl.Datetime("ns"),
        },
    ).write_parquet(folder / "campaigns.parquet")
    seen = pl.DataFrame(visits, schema={"customer_id": pl.Int64, "store_id": pl.Int64, "week": pl.Int64}, orient="row")
    found = plan_by_week(folder / "promotions.parquet", seen, folder / "coupons.parquet", folder / "campaigns.parquet")
    return {(row[0], row[1]): row[2:] for row in found.iter_rows()}


def test_stores_weigh_their_earlier_customers(tmp_path: Path) -> None:
    rows = [(1, 100, "0", "A", 5), (1, 200, "9", "0", 5), (2, 200, "0", "D", 5)]
    visits = [(1, 100, 3), (1, 100, 4), (2, 100, 2), (3, 100, 1), (4, 200, 4), (5, 200, 5), (6, 200, 6), (7, 300, 1)]
    found = plan(tmp_path, rows, visits)
    # 3 customers came to store 100 before week 5 and 1 to store 200; store 300 has no promotions.
    assert found == {(1, 5): (0.75, 0.25, 0.0), (2, 5): (0.25, 0.0, 0.0)}


def test_before_any_customer_stores_weigh_the_same(tmp_path: Path) -> None:
    found = plan(tmp_path, [(1, 100, "0", "A", 1), (2, 200, "A", "0", 1)], [(1, 100, 1)])
    assert found == {(1, 1): (0.5, 0.0, 0.0), (2, 1): (0.0, 0.5, 0.0)}


def test_two_rows_in_one_store_count_once(tmp_path: Path) -> None:
    found = plan(tmp_path, [(1, 100, "1", "A", 3), (1, 100, "2", "A", 3)], [(1, 100, 1)])
    assert found == {(1, 3): (1.0, 1.0, 0.0)}


@pytest.mark.parametrize(
    ("kind", "first_day", "days", "covered"),
    [
        ("Type B", 0, 7, [10]),
        ("Type C", 3, 4, [10]),  # four days of week 10, the week's last
        ("Type C", 4, 3, []),
        ("Type B", 4, 14, [11, 12]),  # days 4 to 17: three of week 10, all of week 11, four of week 12
        ("Type A", 0, 7, []),
    ],
)
def test_a_coupon_counts_where_its_campaign_covers_most_of_a_week(
    tmp_path: Path, kind: str, first_day: int, days: int, covered: list[int]
) -> None:
    start = moment(weeks.week_start(10) + first_day)
    campaigns: dict[str, list[object]] = {
        "campaign_id": [1],
        "campaign_type": [kind],
        "start_date": [start],
        # The last day is named by its beginning, and belongs to the campaign.
        "end_date": [start + timedelta(days=days - 1)],
    }
    coupons = {"coupon_upc": [1, 2], "product_id": [8, 8], "campaign_id": [1, 1]}
    assert plan(tmp_path, NO_ROWS, [(1, 1, 1)], coupons, campaigns) == {(8, week): (0.0, 0.0, 1.0) for week in covered}
