"""Bounds of the checks."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

from ensemble.errors import RacksortError

CHECKS: Final = (
    "files",
    "configs",
    "onnx",
    "ranking",
    "models",
    "serving",
    "golden",
    "live",
    "latency",
    "memory",
    "quality",
)
"""Names of the checks, in their order."""

SKIPPABLE: Final = ("live", "latency", "memory", "quality")
"""What may be left out for a known reason: comparisons. The others decide whether a release works at all."""


_PROCESS_BYTES: Final = 2_000_000_000
"""For the packages and the rows; 190 MB are needed with the committed models."""

_TIMES_THE_MODEL: Final = 8
"""Measured: to read and check a file of 100 MB takes between 500 and 600 MB, to run it less."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a candidate must keep to. Shares are of the live release's figure."""

    skip: frozenset[str] = frozenset()
    """Names of checks that don't run, of ``SKIPPABLE``."""
    model_mb: float = 512.0
    """Largest ONNX file, in 10^6 bytes."""
    release_mb: float = 1024.0
    """All files of the release."""
    tolerance: float = 1e-4
    """How far the same score may be apart, computed in two ways."""
    slower: float = 0.25
    """By what share the median latency may be above the live release's."""
    latency_s: float = 1.0
    """Time for one shape of one round of the latency check."""
    more_memory: float = 0.25
    """By what share Triton may need more memory than with the live release alone."""
    worse: float = 0.02
    """By what share NDCG@10 may surely be lower: the upper end of its interval must not be below minus this."""
    households: int | None = 400
    """How many households the quality is measured on; None = all."""
    load_s: float = 60.0
    """How long Triton may take to load the release."""
    code_s: float = 20.0
    """How long the ranking step's code may take to load."""

    def __post_init__(self) -> None:
        """Refuse what can't be meant.

        Raises:
            RacksortError: names the value.
        """
        if unknown := sorted(self.skip - set(SKIPPABLE)):
            raise RacksortError(f"--skip {unknown[0]}: only {', '.join(SKIPPABLE)} can be left out")
        for entry in fields(self):
            value = getattr(self, entry.name)
            if isinstance(value, float) and not (math.isfinite(value) and value > 0):
                raise RacksortError(f"{entry.name} is {value!r}: give a number above 0")
        if self.households is not None and self.households < 1:
            raise RacksortError(f"households is {self.households}: give a whole number above 0")

    @property
    def process_bytes(self) -> int:
        """Memory that a process may have which reads or runs a model, or loads the ranking step's code.

        A valid file of the largest size takes several times its size: as it is, parsed, checked, and as arrays.
        """
        return int(_PROCESS_BYTES + _TIMES_THE_MODEL * self.model_mb * 1e6)

    def to_json(self) -> dict[str, Any]:
        """The bounds as a JSON object."""
        return asdict(self) | {"skip": sorted(self.skip)}
