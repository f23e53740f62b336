"""Sends documents in bulk, no faster than Elasticsearch takes them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

from elasticsearch import Elasticsearch
from elasticsearch.helpers import streaming_bulk

from api.catalog.loading.documents import Document
from api.catalog.loading.errors import LoadFailed

_OVERLOADED: Final = (429, 503)
_GONE: Final = "index_not_found_exception"
_OF_ONE_DOCUMENT: Final = (400, 404, 409)


@dataclass(frozen=True, slots=True)
class BulkOptions:
    """How documents are sent."""

    documents: int = 1_000
    """Of one request, at most."""
    bytes: int = 5 * 1024 * 1024
    """Of one request, at most."""
    retries: int = 8
    """Of documents that a loaded cluster rejects."""
    first_pause_s: float = 0.5
    """Before the first retry; each pause is twice the one before."""
    longest_pause_s: float = 15.0


BULK: Final = BulkOptions()


def send(
    client: Elasticsearch,
    index: str,
    action: Literal["index", "update"],
    documents: Iterable[Document],
    options: BulkOptions,
) -> Iterator[tuple[Document, str | None]]:
    """Send ``documents``, whose names differ; yields each with why it was refused for good, None where it wasn't.

    Rejected documents are sent again after pauses, and nothing else is sent meanwhile, so that a loaded cluster slows
    us down. ``documents`` is taken as far as one request ahead.

    Raises:
        LoadFailed: the cluster keeps rejecting, or refuses everything.
        ApiError, TransportError: it refuses a request as a whole, or can't be reached.
    """
    waiting: dict[str, Document] = {}
    retried = {"retry_on_conflict": 3} if action == "update" else {}

    def noted() -> Iterator[Any]:  # the client's types don't know that ``expanded`` takes what it likes
        for document in documents:
            waiting[document.name] = document
            yield document

    def expanded(document: Any) -> tuple[dict[str, Any], bytes]:
        return {action: {"_id": document.name, **retried}}, document.body

    answers = streaming_bulk(
        client,
        noted(),
        chunk_size=options.documents,
        max_chunk_bytes=options.bytes,
        raise_on_error=False,
        expand_action_callback=expanded,
        max_retries=options.retries,
        initial_backoff=options.first_pause_s,
        max_backoff=options.longest_pause_s,
        retry_on_status=_OVERLOADED,
        index=index,
    )
    for accepted, answer in answers:
        outcome = answer[action]
        yield waiting.pop(outcome["_id"]), None if accepted else _refusal(index, outcome)
    if waiting:
        raise LoadFailed(f"Elasticsearch didn't say what became of {len(waiting)} documents of {index}: load again")


def _refusal(index: str, outcome: dict[str, Any]) -> str:
    """Why one document was refused; raises where it isn't about that document."""
    status, error = outcome["status"], outcome.get("error", {})
    kind, reason = error.get("type"), f"{error.get('type')}: {error.get('reason')}"
    if kind == _GONE:
        raise LoadFailed(f"{index} was deleted meanwhile, by another load or a person: run it again")
    if status in _OVERLOADED:
        raise LoadFailed(f"Elasticsearch is overloaded and keeps rejecting documents ({reason}): load later")
    if status not in _OF_ONE_DOCUMENT:
        raise LoadFailed(f"Elasticsearch takes no documents into {index} ({reason}): mend that and load again")
    cause = (error.get("caused_by") or {}).get("reason")
    return " ".join(reason.split()) + (f" ({' '.join(cause.split())})" if cause else "")
