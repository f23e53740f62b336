"""The recent events that a request carries: what the adapter joins at request time."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from ensemble import contract


def events_before(
    purchases: pl.DataFrame,
    customer_id: npt.NDArray[np.int64],
    moment: npt.NDArray[np.float64],
    *,
    since: float,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """The newest ``contract.RECENT`` events of each of U questions, newest first.

    Args:
        purchases: a dataset's.
        customer_id: who is asked for [U].
        moment: when [U], in days since 1970-01-01 UTC; what is bought at or after it isn't seen.
        since: the release's cutoff, before which its tables know everything.

    Returns:
        ``recent_product_id`` [U, R], 0 where there are fewer, and ``recent_age`` [U, R] in days.
    """
    found = events_of(purchases, customer_id, moment, since=since)
    place = found["place"].to_numpy()
    held = place < contract.RECENT
    row, place = found["row"].to_numpy()[held], place[held]
    product_id = np.zeros((len(customer_id), contract.RECENT), np.int64)
    age = np.zeros(product_id.shape, np.float32)
    product_id[row, place] = found["product_id"].to_numpy()[held]
    age[row, place] = found["age"].to_numpy()[held]
    return product_id, age


def events_of(
    purchases: pl.DataFrame,
    customer_id: npt.NDArray[np.int64],
    moment: npt.NDArray[np.float64],
    *,
    since: float,
) -> pl.DataFrame:
    """All events of each question, arguments as for ``events_before``.

    Returns:
        [row i64, product_id i64, age f64, place i64], ascending by row and place: 0 is a row's newest event.
    """
    asked = pl.DataFrame({"row": np.arange(len(customer_id)), "customer_id": customer_id, "moment": moment})
    return (
        asked.join(
            purchases.filter(pl.col("day") >= since).select("customer_id", "product_id", "day").unique(),
            on="customer_id",
        )
        .filter(pl.col("day") < pl.col("moment"))
        .select("row", "product_id", age=pl.col("moment") - pl.col("day"))
        .sort("row", "age", "product_id")
        .with_columns(place=pl.int_range(pl.len(), dtype=pl.Int64).over("row"))
    )
