"""The requests of a preview: a file's, or generated ones."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from api.catalog.protocol import Container
from api.errors import InvalidParameter
from api.parameters import MAX_PAGE, parse_query
from api.schemas import MAX_EVENTS, CustomerId, RecentEvent
from api.types import Query, Recent
from ensemble import contract
from ensemble.errors import RacksortError

_PREFIX: Final = "/v1/containers/"
_SUFFIX: Final = "/products"
_CUSTOMERS: Final = 2_500
"""Ids that generated requests have: those of the reference data, and some that it doesn't know."""
_ANONYMOUS_SHARE: Final = 0.1
_MAX_LINE: Final = 100_000


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid")

    container_id: str = Field(min_length=1)
    customer_id: CustomerId | None = None
    limit: int = Field(default=24, ge=1, le=MAX_PAGE)
    category: str | None = None
    recent: list[RecentEvent] = Field(default=[], max_length=MAX_EVENTS)


def read(path: Path, most: int) -> list[Query]:
    """The first ``most`` requests of a file: one a line, as a path or a JSON object.

    Raises:
        RacksortError: it can't be read, or a line isn't a request.
    """
    queries: list[Query] = []
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if text := line.strip():
                    queries.append(_request(text, f"{path}: line {number}"))
                if len(queries) == most:
                    break
    except (OSError, UnicodeDecodeError) as error:
        raise RacksortError(f"{path}: can't be read ({error}): give a file with one request a line") from error
    if not queries:
        raise RacksortError(
            f"{path}: holds no request: write one a line, such as {_PREFIX}deals{_SUFFIX}?customer_id=1"
        )
    return queries


def generated(containers: Sequence[Container], count: int, seed: int) -> list[Query]:
    """Random customers over all containers that have products; lists are asked for as often as grids.

    Raises:
        RacksortError: there are no such containers.
    """
    rng = random.Random(seed)  # noqa: S311 - a sample, not a secret
    filled = [each for each in containers if each.size]
    if not filled:
        raise RacksortError("no container of the catalog has a product to show: prepare the catalog again")
    kinds = sorted({each.kind for each in filled})
    by_kind = {kind: [each.container_id for each in filled if each.kind is kind] for kind in kinds}
    return [
        Query(
            rng.choice(by_kind[rng.choice(kinds)]),
            None if rng.random() < _ANONYMOUS_SHARE else rng.randint(1, _CUSTOMERS),
        )
        for _ in range(count)
    ]


def _request(text: str, where: str) -> Query:
    if len(text) > _MAX_LINE:
        raise RacksortError(f"{where}: is longer than {_MAX_LINE} characters: write one request a line")
    try:
        value: Any = text if text.startswith("/") else json.loads(text)
        return _path(value) if isinstance(value, str) else _object(value)
    except json.JSONDecodeError as error:
        raise RacksortError(f"{where}: isn't JSON ({error}): write a path or an object") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"])) or "the line"
        raise RacksortError(f"{where}: {field}: {first['msg']}: see docs/rules.md") from None
    except (InvalidParameter, ValueError) as error:
        raise RacksortError(f"{where}: {error}") from None


def _path(text: str) -> Query:
    parts = urlsplit(text)
    if not (parts.path.startswith(_PREFIX) and parts.path.endswith(_SUFFIX)):
        raise ValueError(f"{text[:100]!r} isn't a request for products: write {_PREFIX}deals{_SUFFIX}?customer_id=1")
    return parse_query(parts.path[len(_PREFIX) : -len(_SUFFIX)].encode(), parts.query.encode())


def _object(value: object) -> Query:
    asked = _Asked.model_validate(value)
    newest = sorted(asked.recent, key=lambda event: event.age_days)[: contract.RECENT]
    recent = Recent(
        np.array([event.product_id for event in newest], np.int64),
        np.array([event.age_days for event in newest], np.float32),
    )
    return Query(
        asked.container_id,
        asked.customer_id,
        asked.limit,
        asked.category,
        recent if newest else None,
    )
