"""``racksort release gc``: what nobody needs any more goes from the model repository."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ensemble.errors import RacksortError
from racksort.releasing import Place, ReleasesFile

if TYPE_CHECKING:
    from ensemble.releases.gc import Collected


def command(
    repository: Annotated[
        str, typer.Argument(metavar="[PLACE]", help="Model repository: a folder, or what `publish` wrote to.")
    ] = "model_repository",
    releases: ReleasesFile = None,
    keep: Annotated[int, typer.Option(min=0, metavar="N", help="The newest releases, which stay in any case.")] = 3,
    serving: Annotated[
        list[int] | None,
        typer.Option(metavar="N", help="A release that serves, where no document says so; again for more."),
    ] = None,
    withdraw: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Remove this release alone, such as one that doesn't load.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and remove nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Remove old releases, and what killed publishers left.

    What serves, is tried out, or is what a rollback goes back to stays: the document of releases says which, and
    where it is elsewhere (--releases), releases.json in the repository besides. Where there is none, and --serving
    doesn't say, only leftovers go, and nothing can be withdrawn.

    Examples:
        racksort release gc --dry-run

        racksort release gc --keep 5

        racksort release gc --withdraw 4

        racksort release gc s3://bucket/models --serving 7 --serving 6
    """
    from ensemble.releases.object_store import is_url  # noqa: PLC0415 - a verb's imports wait until it runs

    named = frozenset(serving or ())
    if withdraw is not None and (dry_run or is_url(repository)):
        raise RacksortError("--withdraw removes a release from a folder, at once: give neither --dry-run nor a URL")
    if is_url(repository):
        known = bool(named)
        collected = _from_store(repository, named, keep, dry_run=dry_run)
    else:
        folder = Path(repository)
        place = Place.of(folder, releases, None)
        if withdraw is not None:
            collected = _withdrawn(place, withdraw, named)
        else:
            collected = _from_folder(place, named, keep, dry_run=dry_run)
        known = bool(named) or place.document.exists()
    if as_json:
        typer.echo(json.dumps(asdict(collected)))
        return
    _say(collected, dry_run=dry_run)
    if not known and withdraw is None:
        typer.secho(
            f"{repository}: nothing says which releases serve, so all stay; name those that serve with --serving",
            fg="yellow",
            err=True,
        )


def _from_store(url: str, named: frozenset[int], keep: int, *, dry_run: bool) -> Collected:
    from ensemble.releases.object_publish import collect_objects, committed  # noqa: PLC0415
    from ensemble.releases.object_store import open_store  # noqa: PLC0415

    store = open_store(url)
    there = frozenset(each.number for each in committed(store))
    _check_there(url, named, there)
    return collect_objects(store, named or there, datetime.now(UTC), keep, dry_run=dry_run)


def _from_folder(place: Place, named: frozenset[int], keep: int, *, dry_run: bool) -> Collected:
    from ensemble.releases.gc import collect  # noqa: PLC0415
    from ensemble.releases.layout import numbers_in  # noqa: PLC0415

    _check_there(str(place.repository), named, frozenset(numbers_in(place.repository)))
    return collect(place.repository, named, keep, dry_run=dry_run, serving=_serving(place, named))


def _withdrawn(place: Place, number: int, named: frozenset[int]) -> Collected:
    from ensemble.releases.gc import Collected, unknown  # noqa: PLC0415
    from ensemble.releases.withdraw import withdraw  # noqa: PLC0415

    size = withdraw(place.repository, number, serving=_serving(place, named, otherwise_all=False))
    return Collected({number: size}, 0, unknown(place.repository))


def _check_there(where: str, named: frozenset[int], there: frozenset[int]) -> None:
    """A slip in --serving must not leave the release unprotected that serves."""
    if missing := sorted(named - there):
        known = ", ".join(map(str, sorted(there))) or "none"
        raise RacksortError(f"{where}: has no release {missing[0]} (there: {known}); name those that serve")


@contextmanager
def _serving(place: Place, named: frozenset[int], *, otherwise_all: bool = True) -> Iterator[frozenset[int]]:
    """Releases to leave: those named, and those of the documents, which stay as they are until the block ends.

    The adapters' document may be another than the repository's own. Where theirs isn't there and none is named, nobody
    knows what serves: all, with ``otherwise_all``, and else it is refused.

    Raises:
        ReleasesInvalid: a document can't be read, so that nobody knows what serves.
        RacksortError: nothing says what serves.
    """
    from api.releases import store  # noqa: PLC0415
    from ensemble.releases.layout import numbers_in  # noqa: PLC0415

    followed, own = (path.parent.resolve() / path.name for path in (place.document, place.repository / store.NAME))
    found = set(named)
    with ExitStack() as held:
        for path in sorted({followed, own}):  # in one order, so that two of these verbs don't wait for each other
            traffic = held.enter_context(store.held(path))
            if path.exists():
                found.update((*traffic.wanted, *traffic.previous))
        if not named and not followed.exists():
            if not otherwise_all:
                raise RacksortError(
                    f"{place.repository}: nothing says which releases serve, so none is withdrawn; name them with "
                    "--serving, or their document with --releases"
                )
            found.update(numbers_in(place.repository))
        yield frozenset(found)


def _say(collected: Collected, *, dry_run: bool) -> None:
    verb = "would remove" if dry_run else "removed"
    for number, size in collected.releases.items():
        typer.echo(f"{verb} release {number}: {size / 1e6:.1f} MB")
    if collected.leftovers:
        typer.echo(f"{verb} what a killed publisher left: {collected.leftovers / 1e6:.1f} MB")
    for name in collected.unknown:
        typer.echo(f"left alone: {name}, which no release pins")
    for line in collected.damaged:
        typer.secho(f"left alone: {line}", fg="yellow", err=True)
    if not collected.releases and not collected.leftovers:
        typer.echo("nothing to remove")
