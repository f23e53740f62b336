"""``racksort release promote``: another release becomes the live one."""

from __future__ import annotations

from api.releases import document
from racksort.releasing import (
    REPOSITORY,
    WAIT_S,
    AsJson,
    NoWait,
    Place,
    ReleaseNumber,
    ReleasesFile,
    Repository,
    Urls,
    WaitS,
    Why,
    carry_out,
    now,
)


def command(
    release: ReleaseNumber,
    repository: Repository = REPOSITORY,
    releases: ReleasesFile = None,
    url: Urls = None,
    wait: WaitS = WAIT_S,
    no_wait: NoWait = False,
    why: Why = "",
    as_json: AsJson = False,
) -> None:
    """Make a release the live one. The one before stays loaded, so that a rollback takes a second.

    Adapters load the release beside the live one and warm it before they switch, from one request to the next. Where
    that fails the live one goes on; with --url that is exit status 2. The document is put back where an adapter refuses
    the release, and stays where one is only late.

    Examples:
        racksort release promote 2 --url http://127.0.0.1:8080

        racksort release promote 2 --why "5 % for two days, +0.4 % purchases" --json
    """
    place = Place.of(repository, releases, url)
    place.check(release)
    carry_out(
        place,
        lambda traffic: document.promote(traffic, release, at=now(), why=why),
        release=release,
        promotes=True,
        wait_s=wait,
        no_wait=no_wait,
        as_json=as_json,
    )
