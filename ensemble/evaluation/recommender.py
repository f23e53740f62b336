"""What every method under evaluation can do."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from ensemble.evaluation.history import Past


class Recommender(Protocol):
    """A method that names the k products a customer will most likely buy in the coming week."""

    @property
    def name(self) -> str:
        """Short name for tables."""
        ...

    def recommend(
        self, past: Past, customer_id: npt.NDArray[np.int64], candidates: npt.NDArray[np.int64], k: int
    ) -> npt.NDArray[np.int64]:
        """The k best products of each customer, best first.

        Args:
            past: what is known at the start of the week.
            customer_id: [U]; ids without a history are allowed.
            candidates: [m] product ids, ascending: the only products that may be named.
            k: length of the lists.

        Returns:
            [U, k] distinct product ids per row, 0 where there are fewer than k.
        """
        ...
