"""Bodies of requests: read up to a limit, checked against their schema, and refused in a few words."""

from __future__ import annotations

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
    sent_as = request.headers.get("content-type", "")
    if sent_as.partition(";")[0].strip().lower() != _JSON:
        raise UnsupportedMediaType(sent_as, _JSON)
    announced = request.headers.get("content-length", "")
    if announced.isascii() and announced.isdigit() and (len(announced) > 18 or int(announced) > limit):
        raise BodyTooLarge(limit)
    content = bytearray()
    try:
        async for chunk in request.stream():
            content += chunk
            if len(content) > limit:
                raise BodyTooLarge(limit)
    except ClientDisconnect as error:
        raise CallerGone("the connection was closed within the body") from error
    try:
        return model.model_validate_json(bytes(content))
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
    raise InvalidParameter(
        *(Fault(_field(each["loc"]), each["msg"].removeprefix("Value error, ")) for each in found[:MAX_FAULTS])
    )


def _field(location: tuple[int | str, ...]) -> str:
    """``("recent", 0, "age_days")`` -> ``recent.0.age_days``."""
    return shortened(".".join(str(part) for part in location)) or "body"
