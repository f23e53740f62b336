"""``racksort release status``: which releases have traffic."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from racksort.adapters import asked
from racksort.releasing import REPOSITORY, AsJson, Place, ReleasesFile, Repository, Urls, described


def command(
    repository: Repository = REPOSITORY,
    releases: ReleasesFile = None,
    url: Urls = None,
    as_json: AsJson = False,
) -> None:
    """Show what the document says, its latest changes and, with --url, what running adapters do.

    Examples:
        racksort release status

        racksort release status --url http://127.0.0.1:8080 --json
    """
    from ensemble.releases.layout import numbers_in  # noqa: PLC0415 - other verbs needn't wait for it

    place = Place.of(repository, releases, url)
    traffic = place.read()
    there = numbers_in(place.repository) if place.repository.is_dir() else []
    adapters = {each: asked(each) for each in place.urls}
    if as_json:
        body = {"document": str(place.document), **msgspec.to_builtins(traffic), "in_repository": there}
        typer.echo(json.dumps(body | {"adapters": adapters}, indent=2))
        return
    console = Console(highlight=False, soft_wrap=True)
    since = f", since {traffic.changed_at}" if traffic.changed_at else ", which was never written"
    console.print(f"{place.document}: version {traffic.version}{since}", markup=False)
    console.print(f"  {described(traffic)}", markup=False)
    back = ", ".join(map(str, traffic.previous)) or "nothing"
    console.print(f"  live before: {back}; in the repository: {', '.join(map(str, there)) or 'none'}", markup=False)
    for change in traffic.history:
        why = f" ({change.why})" if change.why else ""
        console.print(f"  {change.at}  {change.change}{why}", markup=False)
    for address, body in adapters.items():
        console.print(f"\n{address}: follows version {body['version']}{_but(body)}", markup=False)
        console.print(_table(body))
        for line in _beside(body.get("beside") or {}):
            console.print(f"  {line}", markup=False)


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
