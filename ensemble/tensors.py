"""Batches as the models take and give them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt

Tensors = Mapping[str, npt.NDArray[Any]]
"""Arrays by tensor name, each with the batch as first dimension; their types differ by name."""
