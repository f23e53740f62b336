"""Changes which releases have traffic, and waits until running adapters do as the document says."""

from __future__ import annotations

import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import urlsplit

import typer

from api.releases import document, store
from api.releases.document import Traffic
from ensemble.errors import RacksortError
from racksort.progress import Report, progress_bars

if TYPE_CHECKING:
    from api.settings import Settings

_TIMEOUT_S: Final = 5.0
_POLL_S: Final = 0.1
_DIRECT: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""A proxy has no business on the way to an adapter."""

Repository = Annotated[Path, typer.Option(help="Model repository that holds the releases.")]
ReleasesFile = Annotated[
    Path | None,
    typer.Option(
        "--releases", envvar="RACKSORT_RELEASES", help="The document, where it isn't releases.json of the repository."
    ),
]
Urls = Annotated[
    list[str] | None,
    typer.Option("--url", help="A running adapter to wait for, such as http://127.0.0.1:8080; several are possible."),
]
WaitS = Annotated[float, typer.Option("--wait", min=1, metavar="SECONDS", help="How long to wait for the adapters.")]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Only write the document, and leave it whatever comes of it.")]
Why = Annotated[str, typer.Option(help="The reason, for the history.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
ReleaseNumber = Annotated[int, typer.Argument(min=1, help="Number of the release, N of personalize_vN.")]

REPOSITORY: Final = Path("model_repository")
WAIT_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where the document is, and who follows it."""

    repository: Path
    document: Path
    urls: tuple[str, ...]

    @classmethod
    def of(cls, repository: Path, releases: Path | None, urls: Sequence[str] | None) -> Place:
        """As the options of a verb say.

        Raises:
            RacksortError: an address can't be meant so.
        """
        for url in urls or ():
            if urlsplit(url).scheme not in {"http", "https"}:
                raise RacksortError(f"{url!r} isn't an address: give one such as http://127.0.0.1:8080")
        return cls(repository, releases or repository / store.NAME, tuple(url.rstrip("/") for url in urls or ()))

    def read(self) -> Traffic:
        """The document as it is.

        Raises:
            ReleasesInvalid: it can't be used.
        """
        return store.read(self.document, live=self._live_at_first())

    def change(self, verb: Callable[[Traffic], Traffic]) -> store.Changed:
        """Change the document.

        Raises:
            ReleasesInvalid: it can't be changed so.
        """
        return store.change(self.document, verb, live=self._live_at_first())

    def check(self, release: int) -> None:
        """Refuse a release that couldn't be loaded.

        Raises:
            RacksortError: it isn't in the repository, is incomplete, or was altered since it was published.
        """
        from ensemble.releases.layout import release_in  # noqa: PLC0415 - other verbs needn't wait for it
        from ensemble.releases.verify import manifest_of, verify  # noqa: PLC0415

        found = release_in(self.repository, release)
        if manifest_of(found) is not None:
            verify(found)

    def there(self, before: Traffic, after: Traffic) -> None:
        """See that releases which get a part are still there. For who holds the document's lock, as `gc` does too.

        Raises:
            RacksortError: one is gone or incomplete.
        """
        from ensemble.releases.layout import release_in  # noqa: PLC0415 - other verbs needn't wait for it

        for release in after.wanted:
            if release not in before.wanted:
                release_in(self.repository, release)

    def _live_at_first(self) -> int:
        """The release that serves where there is no document yet."""
        if self.document.exists():
            return 1
        if self.urls:
            return int(asked(self.urls[0])["live"])
        text = os.environ.get("RACKSORT_RELEASE") or "1"
        if not text.isascii() or not text.isdigit() or int(text) < 1:
            raise RacksortError(f"RACKSORT_RELEASE: {text!r} isn't the number of a release; give 1 or more")
        return int(text)


def with_live_release(settings: Settings, repository: Path) -> Settings:
    """The settings with the release that is live as the one that ranks, unless they name one.

    Args:
        settings: the adapter's.
        repository: of the embedded Triton, which isn't looked at where the settings name another one.

    Raises:
        ReleasesInvalid: the document can't be used.
    """
    path = settings.releases
    if path is None and "triton" not in settings.model_fields_set:
        path = repository / store.NAME
    if path is None or "release" in settings.model_fields_set:
        return settings
    return settings.model_copy(update={"release": store.read(path, live=settings.release).live})


def now() -> datetime:
    """The moment of a change."""
    return datetime.now(UTC)


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
    if not isinstance(body, dict) or "releases" not in body:
        raise RacksortError(f"what answers at {url} knows no releases: it isn't racksort, or an older one")
    return body


def carry_out(
    place: Place,
    verb: Callable[[Traffic], Traffic],
    *,
    wait_s: float,
    no_wait: bool,
    as_json: bool,
) -> None:
    """Change the document, wait for the adapters, and say what came of it.

    Args:
        place: where the document is, and whom to wait for.
        verb: the change.
        wait_s: seconds to wait for all adapters.
        no_wait: whether the document stays as it was changed, whatever the adapters make of it.
        as_json: whether the result is for machines.

    Raises:
        ReleasesInvalid: the document can't be changed so; it is as it was.
        RacksortError: an adapter can't do it; the document is put back.
    """
    for url in () if no_wait else place.urls:
        if not asked(url)["followed"]:
            raise RacksortError(f"the adapter at {url} follows no document: set RACKSORT_RELEASES to {place.document}")

    def checked(before: Traffic) -> Traffic:
        after = verb(before)
        place.there(before, after)
        return after

    changed = place.change(checked)
    after = changed.after
    began = time.monotonic()
    if place.urls and not no_wait:
        try:
            with progress_bars() as report:
                for url in place.urls:
                    _wait(url, after, began + wait_s, report)
        except RacksortError as error:
            _put_back(place, changed, str(error))
            raise
    if as_json:
        typer.echo(json.dumps(_result(after, place, time.monotonic() - began)))
        return
    said = f"version {after.version}: {after.change}; {described(after)}"
    if place.urls and not no_wait:
        typer.echo(f"{said}; so at {', '.join(place.urls)} after {time.monotonic() - began:.1f} s")
    else:
        typer.echo(f"{said}; adapters follow {place.document} by themselves, and --url waits for them")


def described(traffic: Traffic) -> str:
    """Who has traffic, in a few words."""
    parts = [f"release {traffic.live} is live"]
    if traffic.canary is not None:
        parts.append(f"canary {traffic.canary.release} has {traffic.canary.percent:g} % of the customers")
    if traffic.shadow is not None:
        parts.append(f"shadow {traffic.shadow.release} ranks {traffic.shadow.percent:g} % of the requests as well")
    return ", ".join(parts)


def _result(after: Traffic, place: Place, waited_s: float) -> dict[str, Any]:
    shares = {
        part: None if share is None else {"release": share.release, "percent": share.percent}
        for part, share in (("canary", after.canary), ("shadow", after.shadow))
    }
    told = {"version": after.version, "change": after.change, "live": after.live, "previous": list(after.previous)}
    return told | shares | {"adapters": list(place.urls), "waited_s": round(waited_s, 2)}


def _wait(url: str, wanted: Traffic, until: float, report: Report) -> None:
    """Wait until an adapter does what the document says.

    Raises:
        RacksortError: it can't, or not in time.
    """
    began = time.monotonic()
    detail = "it hasn't seen the document"
    while True:
        try:
            found = asked(url)
        except RacksortError as error:
            found, detail = None, str(error)
        now_s = time.monotonic()
        if found is not None and found["version"] > wanted.version:
            raise RacksortError(
                f"somebody has changed the document meanwhile ({found['change']}): see `racksort release status`"
            )
        if found is not None and found["version"] == wanted.version:
            states = {each["release"]: each for each in found["releases"]}
            missing = [number for number in wanted.wanted if states.get(number, {}).get("state") != "serving"]
            for number in wanted.wanted:
                state = states.get(number, {"state": "loading", "why": ""})
                if state["state"] == "refused":
                    raise RacksortError(f"release {number} can't have traffic at {url}: {state['why']}")
                done = number not in missing
                report(
                    f"release {number} {state['state']} at {url}", 1.0 if done else (now_s - began) / (until - began)
                )
            if not missing and found["live"] == wanted.live:
                return
            detail = ", ".join(f"release {each}: {states.get(each, {}).get('state', 'not begun')}" for each in missing)
        if now_s >= until:
            raise RacksortError(f"{url} isn't there in time ({detail}): look at its log, or wait longer with --wait")
        time.sleep(_POLL_S)


def _put_back(place: Place, changed: store.Changed, why: str) -> None:
    """Undo a change, unless somebody else has changed the document since."""

    def back(traffic: Traffic) -> Traffic:
        if traffic.version != changed.after.version:
            return traffic
        return document.put_back(traffic, changed.before, at=now(), why=why)

    place.change(back)
