"""Numbers on the command line."""

from __future__ import annotations


def whole_numbers(text: str) -> tuple[int, ...]:
    """Whole numbers above 0, comma separated; none where it is anything else."""
    numbers = tuple(int(part) if part.strip().isdecimal() else 0 for part in text.split(","))
    return numbers if min(numbers) > 0 else ()
