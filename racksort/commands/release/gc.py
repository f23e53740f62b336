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
    from ensemble.releases.layout import numbers_in  # noqa: PLC0415 - a verb's imports wait until it runs
    from ensemble.releases.object_store import is_url  # noqa: PLC0415

    named = frozenset(serving or ())
    if withdraw is not None and (dry_run or is_url(repository)):
        raise RacksortError("--withdraw removes a release from a folder, at once: give neither --dry-run nor a URL")
    if is_url(repository):
        known = bool(named)
        collected = _from_store(repository, named, keep, dry_run=dry_run)
    else:
        folder = Path(repository)
        numbers_in(folder)  # before locks are made there
        with _recorded(Place.of(folder, releases, None)) as (recorded, written):
            known = bool(named) or written
            protected = named | recorded
            if withdraw is not None and not known:
                raise RacksortError(
                    f"{folder}: nothing says which releases serve, so none is withdrawn; name them with --serving, or "
                    "their document with --releases"
                )
            if withdraw is not None:
                collected = _withdrawn(folder, withdraw, protected)
            else:
                collected = _from_folder(folder, named, protected if known else None, keep, dry_run=dry_run)
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


def _from_folder(
    folder: Path, named: frozenset[int], protected: frozenset[int] | None, keep: int, *, dry_run: bool
) -> Collected:
    from ensemble.releases.gc import collect  # noqa: PLC0415
    from ensemble.releases.layout import numbers_in  # noqa: PLC0415

    there = frozenset(numbers_in(folder))
    _check_there(str(folder), named, there)
    return collect(folder, there if protected is None else protected, keep, dry_run=dry_run)


def _withdrawn(folder: Path, number: int, protected: frozenset[int]) -> Collected:
    from ensemble.releases.gc import Collected  # noqa: PLC0415
    from ensemble.releases.withdraw import withdraw  # noqa: PLC0415

    return Collected({number: withdraw(folder, number, protected)}, 0, ())


def _check_there(where: str, named: frozenset[int], there: frozenset[int]) -> None:
    """A slip in --serving must not leave the release unprotected that serves."""
    if missing := sorted(named - there):
        known = ", ".join(map(str, sorted(there))) or "none"
        raise RacksortError(f"{where}: has no release {missing[0]} (there: {known}); name those that serve")


@contextmanager
def _recorded(place: Place) -> Iterator[tuple[frozenset[int], bool]]:
    """Releases that documents speak of, and whether the one that adapters follow is there; so until the block ends.

    Raises:
        ReleasesInvalid: one can't be read, so that nobody knows what serves.
    """
    from api.releases import store  # noqa: PLC0415

    followed, own = (path.parent.resolve() / path.name for path in (place.document, place.repository / store.NAME))
    found: set[int] = set()
    with ExitStack() as held:
        for path in sorted({followed, own}):  # in one order, so that two of these verbs don't wait for each other
            traffic = held.enter_context(store.held(path))
            if path.exists():
                found.update((*traffic.wanted, *traffic.previous))
        yield frozenset(found), followed.exists()


def _say(collected: Collected, *, dry_run: bool) -> None:
    verb = "would remove" if dry_run else "removed"
    for number, size in collected.releases.items():
        typer.echo(f"{verb} release {number}: {size / 1e6:.1f} MB")
    if collected.leftovers:
        typer.echo(f"{verb} what a killed publisher left: {collected.leftovers / 1e6:.1f} MB")
    for name in collected.unknown:
        typer.echo(f"left alone: {name}, which no release pins")
    if not collected.releases and not collected.leftovers:
        typer.echo("nothing to remove")
