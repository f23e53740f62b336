"""Every setting of the adapter: read from ``RACKSORT_*`` and ``ELASTICSEARCH_*`` variables, checked together, then
frozen.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from api.catalog.elastic.connection import Connection
from api.errors import SettingsInvalid
from api.releases.guard import GuardPolicy
from api.resilience.breaker_policy import BreakerPolicy
from api.resilience.budget import Patience
from api.resilience.limiter import LimiterPolicy
from api.setting_checks import fit_together
from api.setting_types import (
    BLANK_IS_TRUE,
    BLANK_IS_UNSET,
    Authority,
    Collector,
    CursorKeys,
    Fingerprint,
    HostAndPort,
    Moment,
    Urls,
    ValkeyUrl,
)
from api.setting_variables import PREFIX
from api.tls_files import TlsFiles
from ensemble import contract

_NOT_OURS = (f"{PREFIX}PEER_", f"{PREFIX}PATHS")
"""Variables of the load test's tools."""
_LEAST_RANKING = 16
"""Requests that are ranked at the same time whatever the limiter finds: what keeps being measured."""
_RATE_AT_FIRST = 2_560
"""Requests a second that the limiter expects until it has measured: 128 in flight for a deadline of 50 ms."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Settings(BaseSettings):
    """One value per variable; :meth:`load` is the way to make one with errors for people."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", hide_input_in_errors=True, populate_by_name=True
    )

    host: str = Field(default="127.0.0.1", min_length=1)
    """Address the adapter listens on."""
    port: int = Field(default=8080, ge=0, le=65535)
    """Port the adapter listens on; 0 takes any free one."""
    catalog_dir: Path = Path("var/catalog")
    """Folder of the embedded catalog."""
    catalog: Literal["embedded", "elasticsearch"] = "embedded"
    """Where candidates come from."""
    elasticsearch_url: Urls = Field(default=None, validation_alias="ELASTICSEARCH_URL")
    """Elasticsearch's address, such as ``https://search.shop.svc:9200``; several nodes are comma separated."""
    elasticsearch_api_key: Annotated[SecretStr | None, BLANK_IS_UNSET] = Field(
        default=None, validation_alias="ELASTICSEARCH_API_KEY"
    )
    """Encoded API key; serving needs to read and to view metadata of ``racksort-*``."""
    elasticsearch_ca_cert: Authority = Field(default=None, validation_alias="ELASTICSEARCH_CA_CERT")
    """File of the authority that signed Elasticsearch's certificate; the system's where not set."""
    elasticsearch_fingerprint: Fingerprint = Field(default=None, validation_alias="ELASTICSEARCH_FINGERPRINT")
    """SHA-256 of Elasticsearch's certificate, in hexadecimal, instead of an authority."""
    elasticsearch_verify: Annotated[bool, BLANK_IS_TRUE] = Field(default=True, validation_alias="ELASTICSEARCH_VERIFY")
    """Whether Elasticsearch's certificate is checked at all."""
    elasticsearch_timeout_ms: int = Field(default=1_000, ge=1, le=60_000)
    """Time limit of one search. Requests don't wait that long: see ``cold_pool_ms``."""
    cold_pool_ms: int = Field(default=500, ge=1, le=60_000)
    """Time a request waits for a pool that never was at hand, at most, even past its deadline: a late page is better
    than none. Callers that say how long they wait aren't kept longer."""
    pool_refresh_ms: int = Field(default=30_000, ge=10, le=86_400_000)
    """Age from which a pool is fetched again, beside the requests that use it."""
    pool_stale_ms: int = Field(default=120_000, ge=10, le=604_800_000)
    """Age from which answers made of a pool say that they are degraded."""
    pool_expire_ms: int = Field(default=86_400_000, ge=10, le=2_592_000_000)
    """Age from which a pool isn't used any more."""
    pool_products: int = Field(default=20_000, ge=contract.MAX_CANDIDATES, le=1_000_000)
    """Products of one pool, at most."""
    pool_cache_bytes: int = Field(default=256 * 1024 * 1024, ge=1024 * 1024, le=64 * 1024**3)
    """Bytes that all pools take, at most."""
    precomputed_dir: Path | None = None
    """Folder of the lists that ``racksort precompute`` made; without it the ladder lacks that rung."""
    rules_dir: Path | None = None
    """Folder of the shop's rules, which ``racksort rules apply`` writes to; without it there are none."""
    events: Literal["embedded", "valkey", "off"] = "embedded"
    """Where what customers did lately is kept: in this process, in a Valkey or Redis server, or nowhere."""
    events_dir: Path | None = None
    """Folder in which the embedded store keeps events on disk; without it they end with the process."""
    events_ttl_s: int = Field(default=14 * 86_400, ge=1, le=366 * 86_400)
    """Time from when an event happened until it is forgotten; longer than a release's tables are used."""
    events_bytes: int = Field(default=256 * 1024 * 1024, ge=64 * 1024, le=64 * 1024**3)
    """Bytes that the embedded store takes, at most."""
    events_timeout_ms: int = Field(default=250, ge=1, le=60_000)
    """Time limit of one call of the Valkey server. Requests don't wait that long: their budget says how long."""
    valkey_url: ValkeyUrl = None
    """Address of the Valkey or Redis server, such as ``rediss://racksort:password@events.shop.svc:6379/0``."""
    triton: HostAndPort = "127.0.0.1:8001"
    """``host:port`` of Triton's gRPC endpoint."""
    triton_tls_ca: Annotated[Path | None, BLANK_IS_UNSET] = None
    """File of the authority that signed Triton's certificate, in PEM; calls go over TLS where it is set."""
    triton_tls_cert: Annotated[Path | None, BLANK_IS_UNSET] = None
    """File of the certificate that the adapter shows Triton, in PEM, for mutual TLS."""
    triton_tls_key: Annotated[Path | None, BLANK_IS_UNSET] = None
    """File of its key, without a password."""
    triton_tls_name: Annotated[str | None, BLANK_IS_UNSET] = None
    """The name that Triton's certificate holds, where that isn't the one in ``triton``."""
    release: int = Field(default=1, ge=1)
    """Number of the release that ranks: ``personalize_v<release>``, where no document of releases says otherwise."""
    releases: Path | None = None
    """File of the document that says which releases have traffic; without it ``release`` serves alone."""
    canary_errors: float = Field(default=0.01, ge=0, le=1)
    """Share of a canary's requests that may fail by its fault, beyond twice the live release's; 1 never takes it
    back for that."""
    canary_fallback: float = Field(default=0.05, ge=0, le=1)
    """The same of requests that something else than the canary answered, whyever."""
    canary_p99: float = Field(default=1.5, ge=1, le=1_000)
    """A canary's p99 may be so many times the live release's."""
    canary_churn: float = Field(default=0.8, ge=0, le=1)
    """Mean of 1 - rank-biased overlap between a canary's rankings and the live release's, at most; 1 allows any."""
    now: Moment = None
    """The moment to rank for, ISO 8601 (UTC unless it says otherwise); the catalog's own where not set."""
    deadline_ms: int = Field(default=50, ge=1, le=60_000)
    """A request's whole time where the caller doesn't say. The answer comes from the next rung of the ladder before."""
    max_deadline_ms: int = Field(default=1_000, ge=1, le=60_000)
    """The most time that a caller can ask for with the header ``X-Timeout-Ms``."""
    call_timeout_ms: int = Field(default=2_000, ge=1, le=120_000)
    """Time limit of one call of Triton, which frees the call slot of a server that hangs."""
    max_calls_in_flight: int = Field(default=2, ge=1, le=64)
    """Calls of Triton at the same time, at most."""
    max_waiting: int = Field(default=1_024, ge=1, le=1_000_000)
    """Requests that may wait for a call slot, at most."""
    max_ranking: int = Field(default=1_024, ge=16, le=100_000)
    """What the limiter may let grow: requests that are being ranked or wait for it at the same time."""
    slow_call_ms: int | None = Field(default=None, ge=1, le=60_000)
    """A call of Triton that takes so long counts as slow, and two of them as a server that hangs: the breaker opens.
    Three times ``deadline_ms`` where not set, and 150 at least."""
    cursor_keys: CursorKeys = None
    """Secrets that cursors are sealed with, separated by commas: the first seals, all open. Without any, cursors end
    with the process."""
    cursor_ttl_s: int = Field(default=3_600, ge=1, le=2_592_000)
    """Seconds that a cursor is good for."""
    shadow_share: float = Field(default=0.005, ge=0, le=1)
    """Share of the healthy requests for which the precomputed list is looked up and compared as well."""
    max_body_bytes: int = Field(default=256 * 1024, ge=1_024, le=16 * 1024 * 1024)
    """Bytes of a request's body, at most."""
    max_head_bytes: int = Field(default=32 * 1024, ge=16 * 1024, le=128 * 1024)
    """Bytes of a request's first line and headers, at most."""
    max_connections: int = Field(default=4_096, ge=1, le=1_000_000)
    """Connections of clients at the same time, at most; more are told to come back."""
    receive_timeout_ms: int = Field(default=5_000, ge=100, le=60_000)
    """Time from a request's first byte until its connection is closed where it isn't complete, and for a client to
    read its answer."""
    keep_alive_ms: int = Field(default=75_000, ge=100, le=3_600_000)
    """Time between an answer and the next request of its connection; longer than load balancers keep idle ones."""
    drain_ms: int = Field(default=1_000, ge=0, le=300_000)
    """Time after SIGTERM in which requests are served on, while ``/readyz`` says 503."""
    grace_ms: int = Field(default=10_000, ge=100, le=600_000)
    """Time from the signal to stop until the process ends, the drain included."""
    start_timeout_ms: int = Field(default=60_000, ge=0, le=86_400_000)
    """Time until the first inference must have worked, else the adapter ends; 0 waits for ever."""
    console: bool = True
    """Whether there is a page at ``/console`` to look at what is served."""
    probe_interval_ms: int = Field(default=1_000, ge=10, le=60_000)
    """How often the readiness probe looks whether an inference is due."""
    otlp_endpoint: Collector = None
    """Address of the collector that traces go to, by OTLP over HTTP, such as ``http://collector:4318``."""
    trace_sample: float = Field(default=0.0, ge=0, le=1)
    """Share of the requests without a caller's decision that are traced."""
    trace_parents_per_s: float = Field(default=10.0, ge=0, le=100_000)
    """Requests a second that are traced because their caller traces, at most."""
    log_format: Literal["text", "json"] = "text"
    """How lines of the log look."""
    log_level: Literal["error", "warning", "info"] = "warning"
    """What the log tells, at least."""
    access_log_sample: float = Field(default=0.0, ge=0, le=1)
    """Share of the answers that the log has a line of."""

    @classmethod
    def load(cls, **overrides: Any) -> Self:  # the fields' own types check the values
        """Settings from the environment; ``overrides`` win, None counts as not given.

        Raises:
            SettingsInvalid: one line for all that is wrong, naming variables and remedies.
        """
        _refuse_unknown(os.environ)
        try:
            return cls(**{name: value for name, value in overrides.items() if value is not None})
        except ValidationError as error:
            raise SettingsInvalid(_explained(error)) from error

    @property
    def now_day(self) -> float | None:
        """``now`` as days since 1970-01-01 UTC."""
        return None if self.now is None else (self.now - _EPOCH).total_seconds() / 86_400

    @property
    def cursor_secrets(self) -> tuple[bytes, ...]:
        """The keys of cursors, the newest first."""
        if self.cursor_keys is None:
            return ()
        return tuple(key.strip().encode() for key in self.cursor_keys.get_secret_value().split(","))

    @property
    def patience(self) -> Patience:
        """How long requests may take."""
        return Patience(self.deadline_ms / 1e3, self.max_deadline_ms / 1e3, self.cold_pool_ms / 1e3)

    @property
    def triton_tls(self) -> TlsFiles | None:
        """TLS to Triton; None for none."""
        if self.triton_tls_ca is None:
            return None
        return TlsFiles(self.triton_tls_ca, self.triton_tls_cert, self.triton_tls_key, self.triton_tls_name)

    @property
    def limiter_policy(self) -> LimiterPolicy:
        """How many requests may be ranked at the same time; a window is at least as long as the deadline."""
        deadline_s = self.deadline_ms / 1e3
        least = min(_LEAST_RANKING, self.max_ranking)
        first = round(_RATE_AT_FIRST * deadline_s)
        return LimiterPolicy(
            deadline_s=deadline_s,
            window_s=max(0.1, deadline_s),
            min_limit=least,
            initial_limit=min(max(first, least), self.max_ranking),
            max_limit=self.max_ranking,
        )

    @property
    def breaker_policy(self) -> BreakerPolicy:
        """When calls of Triton aren't worth trying; with few calls at a time, fewer of them tell that it hangs."""
        slow_ms = self.slow_call_ms or min(max(150, 3 * self.deadline_ms), self.call_timeout_ms)
        return BreakerPolicy(slow_s=slow_ms / 1e3, hung_calls=min(2, self.max_calls_in_flight))

    @property
    def guard_policy(self) -> GuardPolicy:
        """When a canary is taken back."""
        return GuardPolicy(
            errors=self.canary_errors,
            fallback=self.canary_fallback,
            p99_ratio=self.canary_p99,
            churn=self.canary_churn,
        )

    @property
    def connection(self) -> Connection:
        """How to reach Elasticsearch.

        Raises:
            SettingsInvalid: there is no URL.
        """
        if self.elasticsearch_url is None:
            raise SettingsInvalid(
                "ELASTICSEARCH_URL isn't set: give Elasticsearch's address, such as http://127.0.0.1:9200, or start "
                "one with `racksort dev elasticsearch`"
            )
        key = self.elasticsearch_api_key
        return Connection(
            tuple(url.strip() for url in self.elasticsearch_url.split(",")),
            None if key is None else key.get_secret_value(),
            self.elasticsearch_ca_cert,
            self.elasticsearch_fingerprint,
            self.elasticsearch_verify,
        )

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        fit_together(self)
        return self


def _refuse_unknown(environment: Iterable[str]) -> None:
    """A variable that nothing reads is most likely a slip, and the setting that was meant has its default."""
    known = [variable(name) for name in Settings.model_fields]
    for name in environment:
        upper = name.upper()
        if upper.startswith(PREFIX) and upper not in known and not upper.startswith(_NOT_OURS):
            nearest = difflib.get_close_matches(upper, known, n=1, cutoff=0.0)[0]
            raise SettingsInvalid(f"{name}: there is no such setting; did you mean {nearest}? Else unset it")


def variable(name: str) -> str:
    """The environment variable that a field of :class:`Settings` is read from."""
    field = Settings.model_fields.get(name)
    alias = field.validation_alias if field is not None else name if name.isupper() else None
    return alias if isinstance(alias, str) else PREFIX + name.upper()


def _explained(error: ValidationError) -> str:
    lines = []
    for fault in error.errors(include_url=False, include_context=False):
        name = ".".join(str(part) for part in fault["loc"])
        message = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "extra_forbidden":
            known = ", ".join(sorted(Settings.model_fields))
            lines.append(f"there is no setting {name!r}; known are {known}")
        elif name:
            lines.append(f"{variable(name)}: {message[0].lower()}{message[1:]}")
        else:
            lines.append(message)
    return "; ".join(lines)
