"""What customers really bought in a week: the answer key of the evaluation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from ensemble.data.catalog import is_merchandise
from ensemble.data.dataset import Dataset


@dataclass(frozen=True, slots=True)
class Truth:
    """The distinct products that each customer bought in one week, as compressed sparse rows.

    U customers, n (customer, product) pairs; row ``u`` holds the pairs ``start[u]:start[u + 1]``, at least one.
    """

    customer_id: npt.NDArray[np.int64]
    """[U], ascending."""
    start: npt.NDArray[np.int64]
    """[U + 1]."""
    product_id: npt.NDArray[np.int64]
    """[n], ascending within a row."""
    repeat: npt.NDArray[np.bool_]
    """[n]: the customer had bought the product in an earlier week."""
    known: npt.NDArray[np.bool_]
    """[U]: the customer had bought anything in an earlier week."""

    def __len__(self) -> int:
        """U, the number of customers."""
        return len(self.customer_id)

    @property
    def row(self) -> npt.NDArray[np.int64]:
        """[n]: the row of each pair."""
        return np.repeat(np.arange(len(self)), np.diff(self.start))

    def of(self, customers: npt.NDArray[np.int64]) -> Truth:
        """Only the given customers."""
        return self._keep(np.isin(self.customer_id, customers)[self.row])

    def within(self, candidates: npt.NDArray[np.int64]) -> Truth:
        """Only the pairs whose product is a candidate, and only the customers who keep at least one."""
        return self._keep(np.isin(self.product_id, candidates))

    def _keep(self, keep: npt.NDArray[np.bool_]) -> Truth:
        """The pairs where ``keep`` [n], and the customers who have any."""
        count = np.bincount(self.row[keep], minlength=len(self))
        rows = count > 0
        return Truth(
            customer_id=self.customer_id[rows],
            start=np.concatenate(([0], np.cumsum(count[rows]))),
            product_id=self.product_id[keep],
            repeat=self.repeat[keep],
            known=self.known[rows],
        )


def truth_of(dataset: Dataset, week: int, merchandise: npt.NDArray[np.int64]) -> Truth:
    """The purchases of ``week`` among the products ``merchandise`` (int64 [m]), and which of them are repeats.

    A customer without any such purchase in the week has no row. Products that were never sold before the week stay
    in: no method can name them, and dropping them would flatter all.
    """
    purchases = dataset.purchases.filter(pl.col("product_id").is_in(pl.Series(merchandise).implode()))
    pairs = (
        purchases.filter(pl.col("week") == week)
        .select("customer_id", "product_id")
        .unique()
        .sort("customer_id", "product_id")
    )
    past = dataset.before(week).purchases.select("customer_id", "product_id").unique()
    pairs = pairs.join(
        past.with_columns(repeat=pl.lit(value=True)),
        on=["customer_id", "product_id"],
        how="left",
        maintain_order="left",
    )
    customer, start = np.unique(pairs["customer_id"].to_numpy(), return_index=True)
    return Truth(
        customer_id=customer,
        start=np.append(start, len(pairs)).astype(np.int64),
        product_id=pairs["product_id"].to_numpy(),
        repeat=pairs["repeat"].fill_null(value=False).to_numpy(),
        known=np.isin(customer, past["customer_id"].to_numpy()),
    )


def spent_of(dataset: Dataset, week: int, truth: Truth) -> npt.NDArray[np.float64]:
    """What each pair's customer paid for its product in ``week``, float64 [n] in the currency of the data, at least 0.

    Args:
        dataset: all purchases.
        week: the truth's.
        truth: of the week, or a part of it.
    """
    pairs = pl.DataFrame({"customer_id": truth.customer_id[truth.row], "product_id": truth.product_id})
    paid = (
        dataset.purchases.filter(pl.col("week") == week)
        .group_by("customer_id", "product_id")
        .agg(pl.col("value").cast(pl.Float64).sum())
    )
    joined = pairs.join(paid, on=["customer_id", "product_id"], how="left", maintain_order="left")
    # A line that was returned or given back in full is no revenue, and a negative one would make shares above 1.
    return np.maximum(joined["value"].fill_null(0.0).to_numpy(), 0.0)


def merchandise_of(products: pl.DataFrame) -> npt.NDArray[np.int64]:
    """The products that the catalog can show, int64 [m], ascending.

    Left out is what a till records beside them (``NOT_MERCHANDISE`` of the catalog), such as fuel and coupons: nobody
    browses for them, and fuel is such a habit that naming it is no merit.
    """
    return products.filter(is_merchandise())["product_id"].sort().to_numpy()
