"""How to reach Elasticsearch, and what went wrong there in one line."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import orjson
from elastic_transport import AiohttpHttpNode, ApiError, ConnectionTimeout, TlsError, TransportError
from elasticsearch import AsyncElasticsearch, Elasticsearch, UnsupportedProductError

_DEAD_NODE_BACKOFF_S: Final = 0.1
_MAX_DEAD_NODE_BACKOFF_S: Final = 1.0
"""The client's own default is up to 30 s, for which a node that is back would not be used."""


logging.getLogger("elastic_transport").setLevel(logging.ERROR)
"""It would write a line for each failed attempt of an outage; api.catalog.guard says when one begins and ends."""

_REMEDIES: Final = {
    401: "set ELASTICSEARCH_API_KEY to a valid key",
    403: "give the API key the privileges read and view_index_metadata on racksort-*",
    404: "there is no catalog yet: load one with `racksort catalog load`",
}


@dataclass(frozen=True, slots=True)
class Connection:
    """Where Elasticsearch is and who is asking."""

    urls: tuple[str, ...]
    """Such as ``https://search.shop.svc:9200``; several are nodes of one cluster."""
    api_key: str | None = None
    """Encoded, as Elasticsearch gives it out."""
    ca_cert: Path | None = None
    """File of the authority that signed the nodes' certificates; the system's authorities where not given."""
    fingerprint: str | None = None
    """SHA-256 of the certificate, in hexadecimal, instead of an authority."""
    verify: bool = True
    """Whether certificates are checked at all."""
    connections: int = 8
    """Connections to each node, at most."""

    def __repr__(self) -> str:
        """Without the key."""
        return f"Connection({', '.join(self.urls)})"

    def asynchronous(self, **options: Any) -> AsyncElasticsearch:
        """A client for the request's way: aiohttp, one attempt a call, a node that failed is tried again soon."""
        return AsyncElasticsearch(
            list(self.urls),
            node_class=AiohttpHttpNode,
            max_retries=0,
            retry_on_timeout=False,
            retry_on_status=(),
            dead_node_backoff_factor=_DEAD_NODE_BACKOFF_S,
            max_dead_node_backoff=_MAX_DEAD_NODE_BACKOFF_S,
            **self._common(),
            **options,
        )

    def synchronous(self, *, timeout_s: float = 60.0) -> Elasticsearch:
        """A client for loading and maintenance: patient, and it tries again what was lost on the way."""
        return Elasticsearch(
            list(self.urls),
            request_timeout=timeout_s,
            max_retries=5,
            retry_on_timeout=True,
            retry_on_status=(429, 502, 503, 504),
            max_dead_node_backoff=_MAX_DEAD_NODE_BACKOFF_S,
            **self._common(),
        )

    def _common(self) -> dict[str, Any]:
        options: dict[str, Any] = {"connections_per_node": self.connections, "api_key": self.api_key}
        if any(url.startswith("https:") for url in self.urls):
            options["verify_certs"] = self.verify
            if not self.verify:
                options["ssl_show_warn"] = False
            elif self.fingerprint is not None:
                options["ssl_assert_fingerprint"] = self.fingerprint
            elif self.ca_cert is not None:
                options["ca_certs"] = str(self.ca_cert)
        return options


def explained(error: ApiError | TransportError) -> str:
    """What went wrong, in one line without addresses of objects or stack traces."""
    if isinstance(error, ApiError):
        return f"status {error.meta.status}: {_reason(error)}"
    if isinstance(error, ConnectionTimeout):
        return "no answer in time"
    if isinstance(error, TlsError):
        return f"TLS failed ({_first_line(error.message)})"
    return f"can't be reached ({_first_line(error.message)})"


def remedy(error: ApiError | TransportError) -> str | None:
    """What a person has to mend, where waiting won't."""
    if isinstance(error, UnsupportedProductError):
        return "what answers there isn't Elasticsearch: set ELASTICSEARCH_URL"
    if isinstance(error, TlsError):
        return (
            "set ELASTICSEARCH_CA_CERT to the certificate of the authority that signed Elasticsearch's, or "
            "ELASTICSEARCH_FINGERPRINT"
        )
    if not isinstance(error, ApiError) or (error.meta.status == HTTPStatus.NOT_FOUND and not _lacks_index(error)):
        return None
    return _REMEDIES.get(error.meta.status)


def concerns_all(error: ApiError | TransportError) -> bool:
    """Whether other questions would fail as well, rather than this one being wrong."""
    return not isinstance(error, ApiError) or error.meta.status != HTTPStatus.BAD_REQUEST


def _lacks_index(error: ApiError) -> bool:
    return _reason(error).startswith("index_not_found_exception")


def _reason(error: ApiError) -> str:
    body = error.body
    if isinstance(body, bytes):
        try:
            body = orjson.loads(body)
        except orjson.JSONDecodeError:
            return _first_line(body.decode(errors="replace"))
    cause = body.get("error") if isinstance(body, dict) else None
    if isinstance(cause, dict):
        roots = cause.get("root_cause") or [cause]
        root = roots[0] if isinstance(roots[0], dict) else cause
        return _first_line(f"{root.get('type')}: {root.get('reason')}")
    return _first_line(str(cause or body or error.message))


def _first_line(text: str) -> str:
    line = text.strip().splitlines()[0] if text.strip() else "no reason given"
    return line if len(line) <= 300 else line[:300] + "…"
