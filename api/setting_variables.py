"""How the adapter's environment variables are named."""

from __future__ import annotations

from typing import Final

PREFIX: Final = "RACKSORT_"
"""What the names of variables begin with, but for those of Elasticsearch."""
