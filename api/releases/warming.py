"""Has a release rank once what it will be asked, before anybody waits for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from api.ensemble_client import Ensemble
from api.errors import ReleaseRefused
from api.tensors import Batch, Candidates, Row
from api.types import Pool
from ensemble import contract

_PAGE: Final = 24
_MOMENT: Final = 1 / 64
"""Days: a float32 of today's number tells moments apart that are 1/512 of a day away or more."""


async def warm(release: str, ensemble: Ensemble, today: float) -> None:
    """Rank the smallest and the largest batch of every bucket.

    Args:
        release: its name, for people.
        ensemble: the way to it.
        today: now for the models, as days since 1970-01-01 UTC.

    Raises:
        EnsembleError: a call fails.
        ReleaseRefused: an answer isn't a ranking of what was asked.
    """
    for batch in _batches(today):
        ranked = await ensemble.rank(batch)
        if flaw := batch.flaw(ranked.product_id):
            raise ReleaseRefused(
                f"{release} answered {len(batch.rows)} rows of {batch.bucket} candidates with what can't be right: "
                f"{flaw}; check it with `racksort release check`"
            )


def _batches(today: float) -> Iterator[Batch]:
    for bucket in contract.BUCKETS:
        products = np.arange(1, bucket + 1)
        offer = np.zeros((bucket, len(contract.OFFER)), np.float32)
        offer[:, 0] = 1.0  # not reduced
        pool = Pool("", 0, products, np.ones(bucket, np.int32), offer, np.zeros(bucket, np.float32))
        candidates = Candidates.of(pool)
        for rows in (1, contract.MAX_BATCH_SIZE):
            # Each at another moment: equal rows would be one to a model that answers once for all of a pool.
            days = [today + row * _MOMENT for row in range(rows)]
            yield Batch(tuple([Row.of(candidates, None, None, day=day, page_size=_PAGE) for day in days]))
