"""``racksort release rollback``: what was live before is live again."""

from __future__ import annotations

from api.releases import document
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
    repository: Repository = REPOSITORY,
    releases: ReleasesFile = None,
    url: Urls = None,
    wait: WaitS = WAIT_S,
    no_wait: NoWait = False,
    why: Why = "",
    as_json: AsJson = False,
) -> None:
    """Make live what was live before, for everybody: a canary ends as well. Again for the one before that.

    Adapters keep the release that was live last loaded, so that this takes about a second. The document is written
    first and stays so, whatever they say: with --url exit status 2 names those that are late.

    Examples:
        racksort release rollback --url http://127.0.0.1:8080

        racksort release rollback --why "prices in the wrong order"
    """
    place = Place.of(repository, releases, url)
    before = place.read()
    for last in before.previous[:1] if before is not None else ():
        place.check(last)
    carry_out(
        place,
        lambda traffic: document.rollback(traffic, at=now(), why=why),
        release=None,
        wait_s=wait,
        no_wait=no_wait,
        as_json=as_json,
    )
