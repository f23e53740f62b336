"""What can be wrong with precomputed lists."""

# ruff: noqa: N818 - as in api.errors, these names say what happened

from __future__ import annotations

from api.errors import AdapterError, Unavailable


class FallbackInvalid(Unavailable):
    """The store is missing, cut, damaged or of another format; or a list can't be one of its container's."""

    reason = "fallback_invalid"


class FallbackBusy(AdapterError):
    """Another process writes this store."""
