"""The error that tests are skipped by."""

from __future__ import annotations

from ensemble.errors import RacksortError


class NotProvisioned(RacksortError):  # noqa: N818 - its base says that it is an error
    """A server for development can't be had on this machine as it is: the message says what is missing."""
