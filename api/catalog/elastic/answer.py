"""Search answers as arrays. What comes over the network is checked: a hit that doesn't fit is left out and counted.

The usual answer is decoded and checked in one pass (about 2 µs a hit). Only where that fails is each hit looked
at by itself, so that one bad document doesn't cost a container its pool.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import nan
from typing import Annotated, Any, Final, Generic, NamedTuple, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from api.catalog.elastic.columns import NUMBERS, Columns, Further
from api.catalog.files import DEFAULTS
from api.errors import CatalogRefused, CatalogUnavailable
from ensemble import contract

_Id = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
_Category = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
_LARGEST: Final = float(np.finfo(np.float32).max)
_Number = Annotated[float, msgspec.Meta(ge=-_LARGEST, le=_LARGEST)]
_Week = Annotated[int, msgspec.Meta(ge=-(2**15), le=2**15 - 1)]


class _Fields(msgspec.Struct, gc=False):
    """Doc values come as lists, here of one value each. Of an offer nothing need be known."""

    product_id: tuple[_Id]
    category_id: tuple[_Category]
    price_ratio: tuple[_Number] = (DEFAULTS["price_ratio"],)
    mailer: tuple[_Number] = (DEFAULTS["mailer"],)
    display: tuple[_Number] = (DEFAULTS["display"],)
    coupon: tuple[_Number] = (DEFAULTS["coupon"],)
    boost: tuple[_Number] = (DEFAULTS["boost"],)
    excluded: tuple[bool] = (False,)
    category: tuple[str] = ("",)


class _FurtherFields(_Fields, gc=False):
    """With what only the shop's rules need."""

    brand: tuple[str] = ("",)
    repeat_rate: tuple[_Number] = (nan,)
    first_seen_day: tuple[_Number] = (nan,)
    first_week: tuple[_Week] = (0,)


_F = TypeVar("_F", bound=_Fields)


class _Hit(msgspec.Struct, Generic[_F], gc=False):
    fields: _F
    sort: list[Any] = []


class _Hits(msgspec.Struct, Generic[_F]):
    hits: list[_Hit[_F]] = []
    total: _Total | None = None


class _Total(msgspec.Struct):
    value: int


class _Shards(msgspec.Struct):
    failed: int


class _Answer(msgspec.Struct, Generic[_F]):
    timed_out: bool
    shards: _Shards = msgspec.field(name="_shards")
    hits: _Hits[_F]
    pit_id: str | None = None


class _RawHits(msgspec.Struct):
    hits: list[msgspec.Raw] = []
    total: _Total | None = None


class _RawAnswer(msgspec.Struct):
    timed_out: bool
    shards: _Shards = msgspec.field(name="_shards")
    hits: _RawHits
    pit_id: str | None = None


class _Decoders(NamedTuple):
    """For the same fields."""

    strictly: msgspec.json.Decoder[_Answer[Any]]
    hit: msgspec.json.Decoder[_Hit[Any]]


_usual: Final = _Decoders(msgspec.json.Decoder(_Answer[_Fields]), msgspec.json.Decoder(_Hit[_Fields]))
_with_further: Final = _Decoders(
    msgspec.json.Decoder(_Answer[_FurtherFields]), msgspec.json.Decoder(_Hit[_FurtherFields])
)


class _LooseHit(msgspec.Struct, gc=False):
    fields: dict[str, list[Any]] = {}


_loosely: Final = msgspec.json.Decoder(_RawAnswer)
_loose_hit: Final = msgspec.json.Decoder(_LooseHit)


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """One page of a search."""

    columns: Columns
    found: int
    """Hits that came, those that were left out included."""
    total: int | None
    """Hits there are, where that was asked for."""
    rejected: int
    """Hits that were left out."""
    partial: bool
    """Whether Elasticsearch says that it didn't look everywhere."""
    after: list[Any] | None
    """Where the next page begins; None where that can't be said."""
    pit_id: str | None


def parse(body: bytes, *, by_id: bool = False, further: bool = False) -> Answer:
    """Decode and check one answer.

    Args:
        body: of the response.
        by_id: whether hits were sorted by product in the end (or, in a point in time, last but for Elasticsearch's own
            tie breaker), so that a hit says twice which product it is. One that contradicts itself is rejected.
        further: whether what only rules need was asked for.

    Raises:
        CatalogUnavailable: it isn't the answer of a search, or only half of one.
    """
    decoders = _with_further if further else _usual
    try:
        answer = decoders.strictly.decode(body)
        hits, rejected, last = answer.hits.hits, 0, answer.hits.hits[-1].sort if answer.hits.hits else []
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        loose = _envelope(body)
        hits, last = [], []
        for raw in loose.hits.hits:
            try:
                hits.append(decoders.hit.decode(raw))
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                continue
        rejected = len(loose.hits.hits) - len(hits)
        if loose.hits.hits:
            last = _sort_of(loose.hits.hits[-1])
        answer = _Answer(loose.timed_out, loose.shards, _Hits(hits, loose.hits.total), loose.pit_id)
    if by_id:
        sound = [hit for hit in hits if not hit.sort or hit.fields.product_id[0] in hit.sort[-2:]]
        rejected += len(hits) - len(sound)
        hits = sound
    return Answer(
        columns=_columns([hit.fields for hit in hits], further=further),
        found=len(hits) + rejected,
        total=None if answer.hits.total is None else answer.hits.total.value,
        rejected=rejected,
        partial=answer.timed_out or answer.shards.failed > 0,
        after=last or None,
        pit_id=answer.pit_id,
    )


def check_count(answer: Answer, expected: int) -> None:
    """Refuse an answer that lost hits on the way, or gained some, unless it says that it is only a part.

    Raises:
        CatalogUnavailable: it is so.
    """
    if answer.found != expected and not answer.partial:
        raise CatalogUnavailable(f"Elasticsearch's answer has {answer.found} hits, not {expected}")


def check_trust(rejected: int, found: int) -> None:
    """Refuse answers of which more than a tenth (and more than one) had to be left out: then it isn't single documents
    that are wrong.

    Raises:
        CatalogRefused: it is so.
    """
    if rejected > max(1, found // 10):
        raise CatalogRefused(
            f"{rejected} of {found} products don't fit their fields' types; load the catalog again with `racksort "
            "catalog load`"
        )


def _envelope(body: bytes) -> _RawAnswer:
    try:
        return _loosely.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CatalogUnavailable(f"Elasticsearch's answer can't be read ({error})") from None


def _sort_of(hit: msgspec.Raw) -> list[Any]:
    try:
        found = msgspec.json.decode(hit)["sort"]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError, TypeError):
        return []
    return found if isinstance(found, list) else []


def _columns(fields: list[Any], *, further: bool) -> Columns:
    count = len(fields)

    def column(name: str, dtype: type[np.generic]) -> npt.NDArray[Any]:
        values: Iterable[Any] = (getattr(each, name)[0] for each in fields)
        return np.fromiter(values, dtype, count)

    def table(names: Sequence[str]) -> npt.NDArray[np.float32]:
        made = np.empty((count, len(names)), np.float32)
        for at, name in enumerate(names):
            made[:, at] = column(name, np.float32)
        return made

    boost = column("boost", np.float32)
    boost[column("excluded", np.bool_)] = contract.EXCLUDED
    return Columns(
        column("product_id", np.int64),
        column("category_id", np.int32),
        table(contract.OFFER),
        boost,
        [each.category[0] for each in fields],
        Further([each.brand[0] for each in fields], table(NUMBERS)) if further else None,
    )


def loose_fields(body: bytes) -> list[dict[str, Any]]:
    """The first value of each field of each hit, for questions whose fields aren't known beforehand.

    Raises:
        CatalogUnavailable: it isn't the answer of a search.
        CatalogRefused: it is only a part.
    """
    answer = _envelope(body)
    if answer.timed_out or answer.shards.failed:
        raise CatalogRefused("Elasticsearch answers only in part")
    hits = (_fields_of(hit) for hit in answer.hits.hits)
    return [{name: values[0] for name, values in fields.items() if values} for fields in hits]


def _fields_of(hit: msgspec.Raw) -> dict[str, list[Any]]:
    try:
        return _loose_hit.decode(hit).fields
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CatalogUnavailable(f"Elasticsearch's answer can't be read ({error})") from None
