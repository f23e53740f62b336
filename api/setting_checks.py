"""What the settings must fulfil together."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from api.setting_variables import PREFIX
from ensemble import contract

if TYPE_CHECKING:
    from api.settings import Settings


def fit_together(settings: Settings) -> None:
    """See that no setting contradicts another.

    Raises:
        ValueError: one does; says which and the remedy.
    """
    if settings.max_deadline_ms < settings.deadline_ms:
        raise ValueError(
            f"{PREFIX}MAX_DEADLINE_MS ({settings.max_deadline_ms}) is shorter than {PREFIX}DEADLINE_MS "
            f"({settings.deadline_ms}), which callers get without asking; raise it to that at least"
        )
    if settings.call_timeout_ms < settings.max_deadline_ms:
        raise ValueError(
            f"{PREFIX}CALL_TIMEOUT_MS ({settings.call_timeout_ms}) is shorter than {PREFIX}MAX_DEADLINE_MS "
            f"({settings.max_deadline_ms}); raise it to twice that, or lower the deadline"
        )
    if (
        settings.slow_call_ms is not None
        and not settings.deadline_ms <= settings.slow_call_ms <= settings.call_timeout_ms
    ):
        raise ValueError(
            f"{PREFIX}SLOW_CALL_MS ({settings.slow_call_ms}) must be at least {PREFIX}DEADLINE_MS "
            f"({settings.deadline_ms}), or calls in time would be slow, and at most {PREFIX}CALL_TIMEOUT_MS "
            f"({settings.call_timeout_ms}), or none would be"
        )
    if not settings.pool_refresh_ms < settings.pool_stale_ms <= settings.pool_expire_ms:
        raise ValueError(
            f"{PREFIX}POOL_REFRESH_MS ({settings.pool_refresh_ms}), {PREFIX}POOL_STALE_MS ({settings.pool_stale_ms}) "
            f"and {PREFIX}POOL_EXPIRE_MS ({settings.pool_expire_ms}) must grow in this order"
        )
    if settings.events == "valkey" and settings.valkey_url is None:
        raise ValueError(
            f"{PREFIX}VALKEY_URL isn't set: {PREFIX}EVENTS=valkey needs the server's address, such as "
            "redis://127.0.0.1:6379/0"
        )
    _check_tls(settings)
    if settings.trace_sample and settings.otlp_endpoint is None:
        raise ValueError(
            f"{PREFIX}TRACE_SAMPLE ({settings.trace_sample:g}) needs {PREFIX}OTLP_ENDPOINT, the collector that traces "
            "go to, such as http://collector:4318"
        )
    if settings.drain_ms >= settings.grace_ms:
        raise ValueError(
            f"{PREFIX}DRAIN_MS ({settings.drain_ms}) leaves nothing of {PREFIX}GRACE_MS ({settings.grace_ms}) to "
            "answer what is in flight; raise the grace by some seconds"
        )
    if settings.max_waiting < contract.MAX_BATCH_SIZE:
        raise ValueError(
            f"{PREFIX}MAX_WAITING ({settings.max_waiting}) can't fill a batch; make it at least "
            f"{contract.MAX_BATCH_SIZE}"
        )


def _check_tls(settings: Settings) -> None:
    if (settings.triton_tls_cert is None) != (settings.triton_tls_key is None):
        given, missing = ("CERT", "KEY") if settings.triton_tls_key is None else ("KEY", "CERT")
        raise ValueError(f"{PREFIX}TRITON_TLS_{missing} isn't set: {PREFIX}TRITON_TLS_{given} needs it beside it")
    if settings.triton_tls is not None:
        if "triton" not in settings.model_fields_set:
            raise ValueError(
                f"{PREFIX}TRITON isn't set: {PREFIX}TRITON_TLS_CA is for a Triton that runs elsewhere, and one "
                "that is started here has no TLS; name yours, or unset it"
            )
        settings.triton_tls.read(time.time())
    elif settings.triton_tls_cert is not None or settings.triton_tls_name is not None:
        raise ValueError(
            f"{PREFIX}TRITON_TLS_CA isn't set: without Triton's authority there is no TLS; unset the others, too, "
            "if that is meant"
        )
