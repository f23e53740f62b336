"""The global time split: which weeks a model may learn from, be tuned on and be judged by.

One point in time parts past and future for every customer at once. Leaving out each customer's last basket instead
would let a model learn from other customers' later weeks (Ji et al., "A critical study on data leakage in recommender
system offline evaluation", 2020).
"""

from __future__ import annotations

from typing import Final

LAST_TRAINING_WEEK: Final = 40
VALIDATION_WEEKS: Final = tuple(range(41, 47))
TEST_WEEKS: Final = tuple(range(47, 53))
"""Week 53 is cut off by the end of the year, so it isn't judged."""
