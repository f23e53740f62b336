"""Every error the adapter raises on purpose, as one tree.

::

    AdapterError
    ├── CallerError                the caller's fault: answered with its status, never degraded
    │   ├── UnknownContainer       404
    │   ├── UnknownCategory        404
    │   ├── ReleaseNotServed       404: it isn't loaded, or isn't there
    │   ├── BodyTooLarge           413
    │   ├── UnsupportedMediaType   415
    │   ├── InvalidParameter       422, one entry for each field
    │   ├── CursorInvalid          400: it isn't one of ours, or of another scroll
    │   └── CursorExpired          410: it was one of ours
    ├── Unavailable                a stage can't do its part now: the next rung of the ladder, else 503
    │   ├── CatalogUnavailable
    │   │   ├── CatalogDenied      the source isn't what the settings say: credentials, certificate, alias
    │   │   └── CatalogRefused     this one question can't be answered; the source is otherwise fine
    │   ├── RowInvalid             this request's tensors break the contract; its batch mates are fine
    │   ├── QueueFull              refused before any work was done
    │   ├── Overloaded             the same: more is being ranked than can be in time
    │   ├── EventsUnavailable      the store of events can't be reached
    │   └── EnsembleError
    │       ├── EnsembleUnavailable
    │       ├── EnsembleRejected   the server calls the batch malformed: one row of it may be the cause
    │       └── EnsembleTimeout
    ├── ReleaseRefused             a release can't have traffic; what had it before goes on
    ├── TooManyRequests            429: there is no time even for a degraded answer
    ├── CallerGone                 the connection was closed before the answer: nothing is sent
    └── StartupError               the process can't start: one line for a person, exit status 2
        ├── SettingsInvalid
        ├── CatalogInvalid
        ├── PrecomputedMissing     the settings name precomputed lists that can't be used
        ├── ReleasesInvalid        the document that says which releases have traffic can't be used or changed so
        ├── RulesInvalid           a document of the shop's rules can't be used; one entry for each fault
        ├── EventsUnusable         the settings name a store of events that can't be used
        ├── AddressUnusable
        ├── NeverReady             no inference has worked in time
        └── ReleaseTooNew          the release's tables end after the moment to rank for

Anything else is a programmer's error: it is logged with its traceback and answered with 500.
"""

# ruff: noqa: N818 - these names say what happened; the base class says that it is an error

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import ClassVar, Final

MAX_FAULTS: Final = 20
"""Faults that one answer names: enough for a person, too few to make work of."""

_MAX_ECHO: Final = 100


def shortened(text: str) -> str:
    """What a caller sent, as far as an answer repeats it: its first 100 characters."""
    return text if len(text) <= _MAX_ECHO else text[:_MAX_ECHO] + "…"


class AdapterError(Exception):
    """Root of the tree. The message is one line, fit for the people it is meant for."""


class CallerError(AdapterError):
    """The caller asked for something that can't be answered; asking again won't help."""

    status: ClassVar[int]
    slug: ClassVar[str]
    """Last part of the problem type."""
    title: ClassVar[str]
    faults: tuple[Fault, ...] = ()
    """Which fields are wrong, where there are fields."""


class UnknownContainer(CallerError):
    """There is no container of this id."""

    status = 404
    slug = "unknown-container"
    title = "Unknown container"

    def __init__(self, container_id: str) -> None:
        super().__init__(f"There is no container {shortened(container_id)!r}: GET /v1/containers lists them")
        self.container_id = container_id


class UnknownCategory(CallerError):
    """The catalog has no category of this slug."""

    status = 404
    slug = "unknown-category"
    title = "Unknown category"

    def __init__(self, category: str) -> None:
        super().__init__(
            f"There is no category {shortened(category)!r}: use the slug of a product category, such as 'soft-drinks'"
        )
        self.category = category


class ReleaseNotServed(CallerError):
    """A request names a release that the adapter doesn't serve now."""

    status = 404
    slug = "release-not-served"
    title = "Release not served"

    def __init__(self, release: int, served: Iterable[int]) -> None:
        there = ", ".join(map(str, served))
        self.faults = (Fault("release", f"{release} isn't served now; give one of {there}, or none"),)
        super().__init__(f"Release {release} isn't served now: there is {there}")


@dataclass(frozen=True, slots=True)
class Fault:
    """One wrong field of a request."""

    field: str
    """Name of the parameter, or dotted path in the body."""
    message: str
    """What is wrong and what would be right."""


class BodyTooLarge(CallerError):
    """The request's body has more bytes than the settings allow."""

    status = 413
    slug = "body-too-large"
    title = "Body too large"

    def __init__(self, limit: int) -> None:
        super().__init__(f"The body is longer than {limit} bytes; bring fewer products")
        self.limit = limit


class UnsupportedMediaType(CallerError):
    """The request's body isn't sent as what the route takes."""

    status = 415
    slug = "unsupported-media-type"
    title = "Unsupported media type"

    def __init__(self, given: str, taken: str) -> None:
        sent_as = f"The body is sent as {shortened(given)!r}" if given else "The request has no content type"
        super().__init__(f"{sent_as}; send JSON with the header 'content-type: {taken}'")


class InvalidParameter(CallerError):
    """One or more parameters of the request are wrong; the first ``MAX_FAULTS`` are named, each once."""

    status = 422
    slug = "invalid-parameter"
    title = "Invalid parameter"

    def __init__(self, *faults: Fault) -> None:
        self.faults = tuple(islice(dict.fromkeys(faults), MAX_FAULTS))
        super().__init__("; ".join(f"{fault.field}: {fault.message}" for fault in self.faults))


class CursorInvalid(CallerError):
    """A cursor that no answer to such a request has given out."""

    status = 400
    slug = "invalid-cursor"
    title = "Invalid cursor"
    remedy = "send `next_cursor` of an answer to the same request as it is, or none to begin again"

    def __init__(self, why: str) -> None:
        self.faults = (Fault("cursor", f"{why}: {self.remedy}"),)
        super().__init__(f"The cursor can't be used: {why}; {self.remedy}")


class CursorExpired(CursorInvalid):
    """A cursor that was good once."""

    status = 410
    slug = "expired-cursor"
    title = "Expired cursor"
    remedy = "begin again without a cursor"


class Unavailable(AdapterError):
    """A stage can't do its part now. Where a lower rung of the degradation ladder exists, the answer comes from it."""

    reason: ClassVar[str]
    """Short name, as ``degraded_reasons`` and the metrics' label show it."""
    detail: ClassVar[str] = "No products can be shown now; try again soon."
    """What the caller is told where there is no lower rung."""


class CatalogUnavailable(Unavailable):
    """The candidates can't be had now."""

    reason = "catalog_unavailable"


class CatalogDenied(CatalogUnavailable):
    """The source of candidates won't answer until somebody mends its settings or ours."""


class CatalogRefused(CatalogUnavailable):
    """The source of candidates is there, but won't answer this question, or answers with what can't be used."""


class RowInvalid(Unavailable):
    """A row breaks the tensor contract, so that it isn't sent."""

    reason = "row_invalid"


class QueueFull(Unavailable):
    """More requests wait for the ensemble than the settings allow."""

    reason = "queue_full"


class Overloaded(Unavailable):
    """More requests are being ranked than can be in time; refused before any work."""

    reason = "overloaded"


class EventsUnavailable(Unavailable):
    """The store of events can't be reached now."""

    reason = "events_unavailable"
    detail = "The store of events can't be reached now; send the request again soon."


class EnsembleError(Unavailable):
    """A call of the ensemble failed."""


class EnsembleUnavailable(EnsembleError):
    """The server can't be reached, failed, or answered with something else than the contract says."""

    reason = "ensemble_unavailable"


class EnsembleRejected(EnsembleError):
    """The server calls the batch's arguments invalid."""

    reason = "ensemble_rejected"


class EnsembleTimeout(EnsembleError):
    """No answer before the deadline."""

    reason = "ensemble_timeout"


class EnsembleHangs(EnsembleTimeout):
    """Not asked: every call is past the deadlines of its requests. What these say of the load is said already."""


class ReleaseRefused(AdapterError):
    """A release can't have traffic, and won't until somebody changes it."""


class TooManyRequests(AdapterError):
    """The adapter has no time even for a degraded answer."""


class CallerGone(AdapterError):
    """Nobody waits for the answer any more."""


class StartupError(AdapterError):
    """The process can't start; the message names the thing and the remedy in one line."""


class SettingsInvalid(StartupError):
    """A setting is wrong, alone or together with another."""


class CatalogInvalid(StartupError):
    """The catalog's files are missing or don't fit their schema."""


class PrecomputedMissing(StartupError):
    """The settings name precomputed lists that are missing or can't be used."""


class ReleasesInvalid(StartupError):
    """The document that says which releases have traffic can't be used, or not be changed so."""


class RulesInvalid(StartupError):
    """A document of rules is wrong; the first ``MAX_FAULTS`` faults are named, each once."""

    def __init__(self, where: str, *faults: Fault) -> None:
        self.faults = tuple(islice(dict.fromkeys(faults), MAX_FAULTS))
        super().__init__(f"{where}: " + "; ".join(f"{fault.field}: {fault.message}" for fault in self.faults))


class EventsUnusable(StartupError):
    """The settings name a store of events that can't be used."""


class AddressUnusable(StartupError):
    """The adapter can't listen on its address."""


class NeverReady(StartupError):
    """No inference through the whole path has worked within the time that the start may take."""


class ReleaseTooNew(StartupError):
    """The release's tables end after the moment to rank for, so that its models would look into the future."""
