"""``racksort release shadow``: another release ranks some requests as well, for comparison alone."""

from __future__ import annotations

from typing import Annotated

import typer

from api.releases import document
from ensemble.errors import RacksortError
from racksort.releasing import (
    REPOSITORY,
    WAIT_S,
    AsJson,
    NoWait,
    Place,
    ReleasesFile,
    Repository,
    Urls,
    WaitS,
    Why,
    carry_out,
    now,
)


def command(
    release: Annotated[int | None, typer.Argument(min=1, help="Number of the release, N of personalize_vN.")] = None,
    percent: Annotated[float, typer.Option(help="Percent of the requests.")] = 10.0,
    off: Annotated[bool, typer.Option("--off", help="End the shadow.")] = False,
    repository: Repository = REPOSITORY,
    releases: ReleasesFile = None,
    url: Urls = None,
    wait: WaitS = WAIT_S,
    no_wait: NoWait = False,
    why: Why = "",
    as_json: AsJson = False,
) -> None:
    """Have another release rank some of the requests as well. Nobody sees its orders or waits for them.

    Adapters load the release beside the live one and warm it first. Where that fails everything goes on without it;
    with --url that is exit status 2. The document is put back where an adapter refuses the release, and stays where
    one is only late. --off is written whatever adapters say.

    Examples:
        racksort release shadow 2 --percent 10 --url http://127.0.0.1:8080

        racksort release shadow --off
    """
    if off == (release is not None):
        raise RacksortError("shadow: give the number of a release, or --off to end the one there is")
    place = Place.of(repository, releases, url)
    if release is not None:
        place.check(release)
    carry_out(
        place,
        lambda traffic: (
            document.end_shadow(traffic, at=now(), why=why)
            if release is None
            else document.shadow(traffic, release, percent, at=now(), why=why)
        ),
        release=release,
        wait_s=wait,
        no_wait=no_wait,
        as_json=as_json,
    )
