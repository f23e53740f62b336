"""Bodies of requests: read up to a limit, checked against their schema, and refused in a few words."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request

from api.errors import MAX_FAULTS, BodyTooLarge, CallerGone, Fault, InvalidParameter, UnsupportedMediaType, shortened

Parsed = TypeVar("Parsed", bound=BaseModel)

_JSON: Final = "application/json"


async def read(request: Request, model: type[Parsed], limit: int) -> Parsed:
    """The request's body, which must be JSON of ``model``'s schema.

    Args:
        request: the body isn't read yet.
        model: what it must be.
        limit: bytes of the body, at most; a longer one is refused before it is read or, where the request doesn't say
            its length, as soon as it is too long.

    Raises:
        UnsupportedMediaType: it isn't sent as JSON.
        BodyTooLarge: it has more bytes than ``limit``.
        InvalidParameter: it isn't what ``model`` says.
        CallerGone: the connection was closed before its end.
    """
    parts = request.stream()

    async def part() -> tuple[bytes, bool]:
        chunk = await anext(parts, None)
        return chunk or b"", chunk is not None

    sent_as, announced = (request.headers.get(name, "") for name in ("content-type", "content-length"))
    return parsed(await content(sent_as, announced, part, limit), model)


async def content(sent_as: str, announced: str, part: Callable[[], Awaitable[tuple[bytes, bool]]], limit: int) -> bytes:
    """All bytes of a JSON body.

    Args:
        sent_as: the header ``Content-Type``.
        announced: the header ``Content-Length``; empty where the request has none.
        part: gives the next part, and whether more may come.
        limit: as above.

    Raises:
        UnsupportedMediaType, BodyTooLarge, CallerGone: as above.
    """
    if sent_as.partition(";")[0].strip().lower() != _JSON:
        raise UnsupportedMediaType(sent_as, _JSON)
    if announced.isascii() and announced.isdigit() and (len(announced) > 18 or int(announced) > limit):
        raise BodyTooLarge(limit)
    found, more = bytearray(), True
    try:
        while more:
            chunk, more = await part()
            found += chunk
            if len(found) > limit:
                raise BodyTooLarge(limit)
    except ClientDisconnect as error:
        raise CallerGone("the connection was closed within the body") from error
    return bytes(found)


def parsed(content: bytes, model: type[Parsed]) -> Parsed:
    """What the bytes of a body say.

    Raises:
        InvalidParameter: it isn't what ``model`` says.
    """
    try:
        return model.model_validate_json(content)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
    raise InvalidParameter(
        *(Fault(_field(each["loc"]), each["msg"].removeprefix("Value error, ")) for each in found[:MAX_FAULTS])
    )


def _field(location: tuple[int | str, ...]) -> str:
    """``("recent", 0, "age_days")`` -> ``recent.0.age_days``."""
    return shortened(".".join(str(part) for part in location)) or "body"
