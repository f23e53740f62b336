"""What the command line needs to know before a verb runs; so nothing is imported here that takes time."""

from __future__ import annotations

from pathlib import Path
from typing import Final

BAD_ROWS: Final = Path("var/bad-rows.jsonl")
"""File that lists bad rows."""
