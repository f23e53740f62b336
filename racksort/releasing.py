"""Changes which releases have traffic, and waits until running adapters do as the document says."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import urlsplit

import typer

from api.releases import document, store
from api.releases.document import Traffic
from ensemble.errors import RacksortError
from racksort import adapters
from racksort.progress import progress_bars

if TYPE_CHECKING:
    from api.settings import Settings

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
            RacksortError: an address or a path can't be meant so.
        """
        for url in urls or ():
            try:
                parts = urlsplit(url)
                meant = parts.scheme in {"http", "https"} and parts.hostname is not None and parts.port != 0
            except ValueError:
                meant = False
            if not meant:
                raise RacksortError(f"{url!r} isn't an address: give one such as http://127.0.0.1:8080")
        for path in (repository, releases):
            if path is not None and not _is_utf8(str(path)):
                raise RacksortError(f"{str(path)!r}: a path must be UTF-8; name one that is")
        return cls(repository, releases or repository / store.NAME, tuple(url.rstrip("/") for url in urls or ()))

    def read(self) -> Traffic | None:
        """The document as it is; None where there is none.

        Raises:
            ReleasesInvalid: it can't be used.
        """
        return store.found(self.document)

    def change(self, verb: Callable[[Traffic], Traffic], release: int | None, *, promotes: bool) -> store.Changed:
        """Change the document, or begin one.

        Args:
            verb: the change.
            release: the one that it brings in; None where it takes traffic away from one.
            promotes: whether that one becomes live. Then a document can begin although nothing says what was live.

        Raises:
            ReleasesInvalid: it can't be changed so.
            RacksortError: there is no document yet, and nothing says which release is live.
        """
        if self.read() is not None:
            return store.change(self.document, verb)
        if release is None:
            raise RacksortError(f"{self.document}: isn't there, so that no change can be undone; --releases names it")
        live = self.live_at_first(release)
        if live is None and not promotes:
            raise RacksortError(
                f"{self.document}: isn't there, and nothing else says which release is live: name a running adapter "
                "with --url, or promote the live one first"
            )
        return store.change(self.document, verb, live=live or release)

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

    def live_at_first(self, release: int | None = None) -> int | None:
        """The release that serves where there is no document yet; None where nothing says so.

        Args:
            release: one that gets traffic now, so that it isn't the live one.

        Raises:
            RacksortError: an adapter can't be reached, they differ, or RACKSORT_RELEASE can't be meant so.
        """
        from ensemble.releases.layout import numbers_in  # noqa: PLC0415 - other verbs needn't wait for it

        lives = {url: int(adapters.asked(url)["live"]) for url in self.urls}
        if len(set(lives.values())) > 1:
            told = ", ".join(f"{live} at {url}" for url, live in lives.items())
            raise RacksortError(f"different releases are live ({told}): promote one without --url, then all follow")
        if lives:
            return lives.popitem()[1]
        if text := os.environ.get("RACKSORT_RELEASE"):
            if not text.isascii() or not text.isdigit() or int(text) < 1:
                raise RacksortError(f"RACKSORT_RELEASE: {text!r} isn't the number of a release; give 1 or more")
            return int(text)
        there = numbers_in(self.repository) if self.repository.is_dir() else []
        others = [number for number in there if number != release]
        return others[0] if len(others) == 1 else None

    def there(self, before: Traffic, after: Traffic) -> None:
        """See that releases which get a part are still there. For who holds the document's lock, as `gc` does too.

        Raises:
            RacksortError: one is gone or incomplete.
        """
        from ensemble.releases.layout import release_in  # noqa: PLC0415 - other verbs needn't wait for it

        for release in after.wanted:
            if release not in before.wanted:
                release_in(self.repository, release)


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


def _is_utf8(text: str) -> bool:
    """Whether it can be written and printed; what Python takes from elsewhere holds surrogates for other bytes."""
    return not any("\ud800" <= each <= "\udfff" for each in text)


def now() -> datetime:
    """The moment of a change."""
    return datetime.now(UTC)


def carry_out(
    place: Place,
    verb: Callable[[Traffic], Traffic],
    *,
    release: int | None,
    promotes: bool = False,
    wait_s: float,
    no_wait: bool,
    as_json: bool,
) -> None:
    """Change the document, wait for the adapters, and say what came of it.

    A change that brings a release in is put back where an adapter refuses that release. One that takes traffic away
    from a release (``release`` is None) is written whatever the adapters say, and stays: it is the way out of trouble.

    Args:
        place: where the document is, and whom to wait for.
        verb: the change.
        release: the one that it brings in; None where it only takes traffic away from one.
        promotes: whether that one becomes live.
        wait_s: seconds to wait for all adapters.
        no_wait: whether the document stays as it was changed, whatever the adapters make of it.
        as_json: whether the result is for machines.

    Raises:
        ReleasesInvalid: the document can't be changed so; it is as it was.
        RacksortError: an adapter refuses the release, and the document is put back; or adapters aren't there in time,
            and it stays.
    """
    if not math.isfinite(wait_s):
        raise RacksortError(f"--wait {wait_s}: give a number of seconds")
    urls = () if no_wait else place.urls
    if release is not None:
        adapters.check_following(urls, place.document)

    def checked(before: Traffic) -> Traffic:
        after = verb(before)
        place.there(before, after)
        return after

    changed = place.change(checked, release, promotes=promotes)
    after = changed.after
    began = time.monotonic()
    try:
        with progress_bars() as report:
            behind = adapters.wait_for(urls, after, release, wait_s, report) if urls else adapters.Behind()
    except adapters.ReleaseRefusedError as error:
        _put_back(place, changed, str(error))
        raise
    waited_s = time.monotonic() - began
    there = [url for url in urls if url not in behind.late and url not in behind.silent]
    if as_json:
        typer.echo(json.dumps(_result(after, place, waited_s, behind)))
    else:
        said = f"version {after.version}: {after.change}; {described(after)}"
        if there:
            said += f"; so at {', '.join(there)} after {waited_s:.1f} s"
        elif not urls:
            said += f"; adapters follow {place.document} by themselves, and --url waits for them"
        typer.echo(said)
    late = behind.late if release is None else behind.late | behind.silent
    for url in behind.silent.keys() - late.keys():
        typer.secho(f"{behind.silent[url]}; the document is written all the same", fg="yellow", err=True)
    if late:
        told = "; ".join(f"{url} isn't there in time ({why})" for url, why in late.items())
        raise RacksortError(f"{told}: the document stays; `racksort release status --url …` says how far they are")


def described(traffic: Traffic) -> str:
    """Who has traffic, in a few words."""
    parts = [f"release {traffic.live} is live"]
    if traffic.canary is not None:
        parts.append(f"canary {traffic.canary.release} has {traffic.canary.percent:g} % of the customers")
    if traffic.shadow is not None:
        parts.append(f"shadow {traffic.shadow.release} ranks {traffic.shadow.percent:g} % of the requests as well")
    return ", ".join(parts)


def _result(after: Traffic, place: Place, waited_s: float, behind: adapters.Behind) -> dict[str, Any]:
    shares = {
        part: None if share is None else {"release": share.release, "percent": share.percent}
        for part, share in (("canary", after.canary), ("shadow", after.shadow))
    }
    told = {"version": after.version, "change": after.change, "live": after.live, "previous": list(after.previous)}
    waited = {"adapters": list(place.urls), "waited_s": round(waited_s, 2)}
    return told | shares | waited | {"behind": behind.late | behind.silent}


def _put_back(place: Place, changed: store.Changed, why: str) -> None:
    """Undo a change, unless somebody else has changed the document since."""

    def back(traffic: Traffic) -> Traffic:
        if traffic.version != changed.after.version:
            return traffic
        return document.put_back(traffic, changed.before, at=now(), why=why)

    store.change(place.document, back)
