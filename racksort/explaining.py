"""Asks a running server for explanations, and shows them to a person."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from http.client import HTTPException
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from rich.box import SIMPLE_HEAD
from rich.table import Table

from ensemble.errors import RacksortError

_TIMEOUT_S = 10.0


def ask(url: str, container: str, **parameters: object) -> dict[str, Any]:
    """The explained page of a container.

    Args:
        url: where the server listens, with scheme.
        container: its id.
        parameters: of the request; None counts as not given.

    Raises:
        RacksortError: the server can't be reached, refuses, or isn't racksort's; one line.
    """
    if urlsplit(url).scheme not in {"http", "https"}:
        raise RacksortError(f"{url!r} isn't an address: give one with its scheme, such as http://127.0.0.1:8080")
    given = {name: value for name, value in parameters.items() if value is not None}
    path = f"/v1/containers/{quote(container, safe='')}/products?{urlencode({'explain': 'true', **given})}"
    try:
        with urllib.request.urlopen(url.rstrip("/") + path, timeout=_TIMEOUT_S) as answer:  # noqa: S310 - checked above
            body = json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            raise RacksortError(_said(error)) from None
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise RacksortError(f"nothing answers at {url} ({reason}): start `racksort serve`, or give --url") from None
    except ValueError:
        body = None
    if not isinstance(body, dict) or "explanations" not in body:
        raise RacksortError(f"what answers at {url} doesn't explain: it isn't racksort, or an older one")
    return body


def _said(error: urllib.error.HTTPError) -> str:
    """A problem's detail, else the status."""
    try:
        return str(json.load(error)["detail"])
    except (ValueError, KeyError, TypeError, OSError):
        return f"{error.url} answered {error.code} {error.reason}"


def table(body: dict[str, Any]) -> Table:
    """The page, and the product that was asked about below it."""
    who = "a new customer" if body["customer_id"] is None else f"customer {body['customer_id']}"
    title = f"{body['container_id']} for {who}, by {body['release'] or body['source']}"
    shown = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for name in ("#", "product", "score", "affinity", "demand", "preference", "boost", "by score", "in pool"):
        shown.add_column(name, justify="right", no_wrap=True)
    rows = [*body["explanations"]]
    asked = body["why_not"]
    if asked is not None and asked["reason"] != "shown":
        rows.append(asked)
    ruled = any(each["rules"] for each in rows)
    if ruled:
        shown.add_column("rules")
    for each in rows:
        if each is asked:
            shown.add_section()
        shown.add_row(*_cells(each), *([", ".join(map(_effect, each["rules"]))] if ruled else []))
    return shown


def _cells(product: dict[str, Any]) -> list[str]:
    parts = product["components"] or {}
    numbers = [product["score"], *(parts.get(name) for name in ("affinity", "demand", "preference")), product["boost"]]
    return [
        _text(product["position"]),
        str(product["product_id"]),
        *("" if each is None else f"{each:.3f}" for each in numbers),
        _text(product["score_rank"]),
        _text(product["retrieval_rank"]),
    ]


def _effect(rule: dict[str, Any]) -> str:
    """Such as ``summer: pin 7 -> 1``."""
    moved = "" if rule["from"] is None and rule["to"] is None else f" {_text(rule['from'])} -> {_text(rule['to'])}"
    return f"{rule['rule']}: {rule['effect']}{moved}".rstrip()


def _text(place: int | None) -> str:
    return "" if place is None else str(place)
