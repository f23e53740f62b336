"""``racksort release status``: which releases have traffic."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from api.releases.document import Traffic
from ensemble.errors import RacksortError
from racksort.adapters import asked
from racksort.releasing import REPOSITORY, AsJson, Place, ReleasesFile, Repository, Urls, described


def command(
    repository: Repository = REPOSITORY,
    releases: ReleasesFile = None,
    url: Urls = None,
    as_json: AsJson = False,
) -> None:
    """Show what the document says, its latest changes and, with --url, what running adapters do.

    Exit status 2 says that one of them doesn't answer, after what the others say.

    Examples:
        racksort release status

        racksort release status --url http://127.0.0.1:8080 --json
    """
    from ensemble.releases.layout import numbers_in  # noqa: PLC0415 - other verbs needn't wait for it

    place = Place.of(repository, releases, url)
    traffic = place.read()
    there = numbers_in(place.repository) if place.repository.is_dir() else []
    adapters, silent = _asked(place.urls)
    if as_json:
        told = msgspec.to_builtins(traffic or Traffic(1)) | ({"live": None} if traffic is None else {})
        body = {"document": str(place.document), **told, "in_repository": there, "adapters": adapters}
        typer.echo(json.dumps(body, indent=2))
    else:
        console = Console(highlight=False, soft_wrap=True)
        for line in _document(place.document, traffic, there):
            console.print(line, markup=False)
        for address, found in adapters.items():
            if found is None:
                continue
            console.print(f"\n{address}: follows version {found['version']}{_but(found)}", markup=False)
            console.print(_table(found))
            for line in _beside(found.get("beside") or {}):
                console.print(f"  {line}", markup=False)
    if silent:
        raise RacksortError("; ".join(silent))


def _asked(urls: Sequence[str]) -> tuple[dict[str, dict[str, Any] | None], list[str]]:
    """What each adapter says, None where it says nothing, and why those say nothing."""
    found: dict[str, dict[str, Any] | None] = {}
    silent = []
    for url in urls:
        try:
            found[url] = asked(url)
        except RacksortError as error:
            found[url] = None
            silent.append(str(error))
    return found, silent


def _document(path: Path, traffic: Traffic | None, there: list[int]) -> Iterator[str]:
    """The document, its latest changes and the repository, line by line."""
    held = ", ".join(map(str, there)) or "none"
    if traffic is None:
        yield f"{path}: isn't there, so that each adapter serves its RACKSORT_RELEASE alone; --url asks which"
        yield f"  in the repository: {held}"
        return
    since = f", since {traffic.changed_at}" if traffic.changed_at else ""
    yield f"{path}: version {traffic.version}{since}"
    yield f"  {described(traffic)}"
    yield f"  live before: {', '.join(map(str, traffic.previous)) or 'nothing'}; in the repository: {held}"
    for change in traffic.history:
        why = f" ({change.why})" if change.why else ""
        yield f"  {change.at}  {change.change}{why}"


def _but(body: dict[str, Any]) -> str:
    if not body["followed"]:
        return ", since RACKSORT_RELEASES isn't set there"
    return f"; {body['broken']}" if body["broken"] else ""


def _beside(body: dict[str, Any]) -> Iterator[str]:
    """What the guards say of the canary, and how releases compare with the live one."""
    for each in body.get("guards", ()):
        yield f"guard {each['guard']} {each['state']}: {each['told']}"
    for each in body.get("comparisons", ()):
        if each["rankings"]:
            yield (
                f"{each['role']} {each['release']} beside {each['live']}: {each['rankings']} rankings,"
                f" overlap@10 {each['overlap_10']:.0%}, overlap@20 {each['overlap_20']:.0%}, RBO {each['rbo']:.2f}"
            )
    if (taken := body.get("taken_back")) is not None:
        told = f"canary {taken['release']} was taken back here at {taken['at']}: guard {taken['guard']}, {taken['why']}"
        yield f"{told}; the document still wants it: {taken['unwritten']}" if taken["unwritten"] else told


def _table(body: dict[str, Any]) -> Table:
    table = Table(box=SIMPLE_HEAD)
    for heading in ("release", "part", "state", "since", "why"):
        table.add_column(heading)
    parts = {body[part]: part for part in ("shadow", "canary", "live") if body[part] is not None}
    for each in body["releases"]:
        part = parts.get(each["release"], "")
        table.add_row(each["name"], part, each["state"], each["since"] or "the start", each["why"])
    return table
