"""Running adapters: what they say of their releases, and waiting until they do as the document says."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any, Final

from api.releases.document import Traffic
from ensemble.errors import RacksortError
from racksort.progress import Report

_TIMEOUT_S: Final = 5.0
_POLL_S: Final = 0.1
_DIRECT: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""A proxy has no business on the way to an adapter."""


class ReleaseRefusedError(RacksortError):
    """An adapter says that a release can't have traffic."""


@dataclass(slots=True)
class Behind:
    """Adapters that don't do as the document says yet, and why, by their addresses."""

    late: dict[str, str] = field(default_factory=dict)
    """They answer."""
    silent: dict[str, str] = field(default_factory=dict)
    """They don't."""


def asked(url: str) -> dict[str, Any]:
    """What an adapter says of its releases.

    Raises:
        RacksortError: it can't be reached, or isn't racksort's.
    """
    try:
        with _DIRECT.open(f"{url}/v1/releases", timeout=_TIMEOUT_S) as answer:
            body = json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            raise RacksortError(f"{url}/v1/releases answers {error.code}: it isn't racksort, or an older one") from None
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise RacksortError(f"nothing answers at {url} ({reason}): start `racksort serve`, or give --url") from None
    if not isinstance(body, dict) or not body.keys() >= {"version", "followed", "live", "releases"}:
        raise RacksortError(f"what answers at {url} knows no releases: it isn't racksort, or an older one")
    return body


def check_following(urls: Sequence[str], document: object) -> None:
    """Refuse adapters that wouldn't see a change.

    Raises:
        RacksortError: one of them can't be reached, or follows no document.
    """
    for url in urls:
        if not asked(url)["followed"]:
            raise RacksortError(f"the adapter at {url} follows no document: set RACKSORT_RELEASES to {document}")


def wait_for(urls: Sequence[str], wanted: Traffic, release: int | None, wait_s: float, report: Report) -> Behind:
    """Wait until adapters do as the document says.

    Args:
        urls: of the adapters, each asked in turn.
        wanted: the document.
        release: the one that the change has brought in; None where it has only taken traffic away from one. Then
            an adapter that doesn't answer or refuses the live one isn't waited for once all others are there.
        wait_s: seconds to wait at most.
        report: gets how far each of them is.

    Returns:
        those that aren't there.

    Raises:
        ReleaseRefusedError: an adapter can't give ``release`` traffic.
        RacksortError: the document was changed by somebody else meanwhile.
    """
    began = time.monotonic()
    pending = dict.fromkeys(urls, "it hasn't seen the document")
    while True:
        silent, given_up = {}, set()
        for url in list(pending):
            try:
                found = asked(url)
            except RacksortError as error:
                pending[url] = silent[url] = str(error)
                continue
            try:
                pending[url] = _missing(url, found, wanted, release)
            except ReleaseRefusedError as error:
                if release is not None:
                    raise
                pending[url] = str(error)
                given_up.add(url)
            if not found["followed"]:
                given_up.add(url)
            waited = (time.monotonic() - began) / wait_s
            report(f"version {wanted.version} at {url}", waited if pending[url] else 1.0)
            if not pending[url]:
                del pending[url]
        nobody_left = pending.keys() <= given_up | (silent.keys() if release is None else set())
        if nobody_left or time.monotonic() - began >= wait_s:
            return Behind({url: why for url, why in pending.items() if url not in silent}, silent)
        time.sleep(_POLL_S)


def _missing(url: str, found: dict[str, Any], wanted: Traffic, release: int | None) -> str:
    """What an adapter doesn't do yet; nothing where it does as the document says.

    Raises:
        ReleaseRefusedError: it can't give ``release``, or where that is None the live one, traffic.
        RacksortError: it has seen a later document.
    """
    if not found["followed"]:
        return "it follows no document: set RACKSORT_RELEASES there"
    if found["version"] > wanted.version:
        raise RacksortError(
            f"somebody has changed the document meanwhile ({found['change']}): see `racksort release status`"
        )
    if found["version"] < wanted.version:
        return "it hasn't seen the document"
    states = {each["release"]: each for each in found["releases"]}
    brought = wanted.live if release is None else release
    state = states.get(brought, {"state": "not begun"})
    if state["state"] == "refused":
        raise ReleaseRefusedError(f"release {brought} can't have traffic at {url}: {state['why']}")
    if state["state"] != "serving":
        return f"release {brought}: {state['state']}"
    if found["live"] != wanted.live:
        return f"release {found['live']} is live there"
    for part in ("canary", "shadow"):
        if getattr(wanted, part) is None and found[part] is not None:
            return f"release {found[part]} is {part} there"
    return ""
