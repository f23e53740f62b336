"""The tensor contract: every name, type, shape and limit that two processes must agree on.

One row is one request: a customer, a container's candidates and the moment it is asked. A batch holds up to
``MAX_BATCH_SIZE`` rows padded to one bucket, because Triton batches equal shapes only. Every ``config.pbtxt`` is
generated from this module (``ensemble.configs``), the adapter encodes and decodes with it, and the exported models are
checked against it. It is the only module of ``ensemble`` that ``api`` may import, so it needs numpy alone.
"""

from __future__ import annotations

import bisect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

MAX_BATCH_SIZE: Final = 64
"""Rows in one call, at most."""

BUCKETS: Final[tuple[int, ...]] = (64, 128, 256, 512, 1024)
"""Candidates per row (N): each row is padded to the smallest bucket that holds it."""

MAX_CANDIDATES: Final = BUCKETS[-1]

RECENT: Final = 16
"""R: the customer's most recent events (purchases since the models were trained), newest first."""

OFFER: Final[tuple[str, ...]] = ("price_ratio", "mailer", "display", "coupon")
"""Columns of ``offer`` [N, F]: price / regular price (1 = not reduced), the customer-weighted share of stores (0..1)
that have the product in the mailer and on display this week, and 1 where a coupon campaign covers it. Padding: 0."""

CONTEXT: Final[tuple[str, ...]] = ("day", "page_size")
"""Columns of ``context`` [C]: now, as days since 1970-01-01 UTC (float32 keeps it to about 3 minutes; hour, weekday and
season follow from it), and how many leading products of the answer will be shown (0 = all of them)."""

COMPONENTS: Final[tuple[str, ...]] = ("affinity", "demand", "preference")
"""Columns of ``component`` [N, 3]: what category affinity, product pool and collaborative filter add to the score."""

ANONYMOUS: Final = 0
"""``customer_id`` of a visitor who isn't known. Unknown ids are treated the same: cold start, never an error."""

PADDING: Final = 0
"""``product_id`` that fills a row up to its bucket; comes back last."""

EXCLUDED: Final = float("-inf")
"""``boost`` that takes a candidate out: it comes back as ``PADDING``."""

N: Final = -1
"""The candidate dimension, variable up to ``MAX_CANDIDATES``."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One tensor of a model: its name, element type and shape without the batch dimension (``N`` where variable)."""

    name: str
    dtype: npt.DTypeLike
    dims: tuple[int, ...]

    @property
    def triton_type(self) -> str:
        """The type as ``config.pbtxt`` spells it, such as ``TYPE_FP32``."""
        return "TYPE_" + self.wire_type

    @property
    def wire_type(self) -> str:
        """The type as the KServe v2 protocol spells it, such as ``FP32``."""
        return _WIRE_TYPES[np.dtype(self.dtype)]


_WIRE_TYPES: Final = {np.dtype(np.int64): "INT64", np.dtype(np.int32): "INT32", np.dtype(np.float32): "FP32"}

CUSTOMER_ID: Final = TensorSpec("customer_id", np.int64, (1,))
PRODUCT_ID: Final = TensorSpec("product_id", np.int64, (N,))
CATEGORY_ID: Final = TensorSpec("category_id", np.int32, (N,))
OFFERS: Final = TensorSpec("offer", np.float32, (N, len(OFFER)))
BOOST: Final = TensorSpec("boost", np.float32, (N,))
RECENT_PRODUCT_ID: Final = TensorSpec("recent_product_id", np.int64, (RECENT,))
RECENT_AGE: Final = TensorSpec("recent_age", np.float32, (RECENT,))
"""Days between the event and now."""
CONTEXTS: Final = TensorSpec("context", np.float32, (len(CONTEXT),))

AFFINITY: Final = TensorSpec("affinity", np.float32, (N,))
"""Logit of P(the customer buys from the candidate's leaf category within 7 days)."""
DEMAND: Final = TensorSpec("demand", np.float32, (N,))
"""Lift of demand: natural log of the number of customers expected to buy the candidate within 7 days at its offer, over
the product's own long-run weekly rate. 0 = as usual; 0 too for padding and products without sales so far."""
PREFERENCE: Final = TensorSpec("preference", np.float32, (N,))
"""What speaks for the candidate beside its category's affinity and its demand, on the scale of a logit: with both of
them, times the two weights below, it is the logit of P(the customer buys the candidate within 7 days)."""
AFFINITY_WEIGHT: Final = TensorSpec("affinity_weight", np.float32, (N,))
"""How much the category's affinity counts for this customer and candidate."""
DEMAND_WEIGHT: Final = TensorSpec("demand_weight", np.float32, (N,))
"""How much the demand counts for this customer and candidate."""
NOVELTY: Final = TensorSpec("novelty", np.float32, (N,))
"""1 where the customer has never bought the candidate, else 0; 0 everywhere for customers without a history."""

RANKED_PRODUCT_ID: Final = TensorSpec("ranked_product_id", np.int64, (N,))
"""Not called ``product_id``: inside an ensemble a name is one tensor, so an output can't share it with an input."""
SCORE: Final = TensorSpec("score", np.float32, (N,))
COMPONENT: Final = TensorSpec("component", np.float32, (N, len(COMPONENTS)))


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One model of the repository: its name and its tensors, in the order of the config."""

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


CATEGORY_AFFINITY: Final = ModelSpec(
    "category_affinity", (CUSTOMER_ID, CATEGORY_ID, RECENT_PRODUCT_ID, RECENT_AGE, CONTEXTS), (AFFINITY,)
)
PRODUCT_POOL: Final = ModelSpec("product_pool", (PRODUCT_ID, CATEGORY_ID, OFFERS, CONTEXTS), (DEMAND,))
COLLABORATIVE_FILTER: Final = ModelSpec(
    "collaborative_filter",
    (CUSTOMER_ID, PRODUCT_ID, CATEGORY_ID, RECENT_PRODUCT_ID, RECENT_AGE, CONTEXTS),
    (PREFERENCE, NOVELTY, AFFINITY_WEIGHT, DEMAND_WEIGHT),
)
RANKING: Final = ModelSpec(
    "ranking",
    (
        PRODUCT_ID,
        CATEGORY_ID,
        BOOST,
        CONTEXTS,
        AFFINITY,
        DEMAND,
        PREFERENCE,
        NOVELTY,
        AFFINITY_WEIGHT,
        DEMAND_WEIGHT,
    ),
    (RANKED_PRODUCT_ID, SCORE, COMPONENT),
)

OF_THE_POOL: Final[Mapping[str, Mapping[str, int]]] = {PRODUCT_POOL.name: {CONTEXTS.name: 1}}
"""Models whose answer doesn't depend on the customer; by input, how many of its leading columns they read, where that
isn't all of them: of the context only the moment. They answer once for equal rows that follow each other."""

ONNX_MODELS: Final[tuple[ModelSpec, ...]] = (CATEGORY_AFFINITY, PRODUCT_POOL, COLLABORATIVE_FILTER)
MODELS: Final[tuple[ModelSpec, ...]] = (*ONNX_MODELS, RANKING)
"""The ensemble's steps. The three models run side by side; ranking needs all of them."""

ENSEMBLE_INPUTS: Final[tuple[TensorSpec, ...]] = (
    CUSTOMER_ID,
    PRODUCT_ID,
    CATEGORY_ID,
    OFFERS,
    BOOST,
    RECENT_PRODUCT_ID,
    RECENT_AGE,
    CONTEXTS,
)
ENSEMBLE_OUTPUTS: Final[tuple[TensorSpec, ...]] = RANKING.outputs
"""``ranked_product_id`` best first, padding and excluded candidates last; ``score`` and ``component`` in the same
order, to be requested only where an explanation is wanted."""


HISTORY_UNTIL_DAY: Final = "history_until_day"
"""Parameter of a release's ensemble config: the moment its tables end, as days since 1970-01-01 UTC. Asking for a
ranking of an earlier moment would let the models look into the future."""


def ensemble_name(release: int) -> str:
    """Name of the Triton ensemble that serves release number ``release`` (1 or higher)."""
    return f"personalize_v{release}"


def bucket_for(candidates: int) -> int:
    """The smallest bucket that holds ``candidates`` products.

    Raises:
        ValueError: more than ``MAX_CANDIDATES``, or a negative number.
    """
    if not 0 <= candidates <= MAX_CANDIDATES:
        raise ValueError(f"{candidates} candidates: between 0 and {MAX_CANDIDATES} fit one row")
    return BUCKETS[bisect.bisect_left(BUCKETS, candidates)]
