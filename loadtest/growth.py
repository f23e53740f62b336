"""What is asked of a measurement that has ever more of something, under the same load on the same cores."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure, and for how long."""

    catalog: Path
    repository: Path
    counts: tuple[int, ...]
    """How many there are, one number after another."""
    seconds: int = 5
    connections: int = 64
    """Of each run, whatever it has many of."""
    cores: int = 2
