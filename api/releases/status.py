"""What an adapter says of its releases."""

from __future__ import annotations

from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict, Field

from api import openapi_examples as examples
from api.releases.follow import Releases
from api.releases.lanes import Lanes
from api.releases.states import State
from ensemble import contract


class ReleasePart(BaseModel):
    """A release that part of the traffic shall go to."""

    release: int
    percent: float = Field(description="Of the customers for a canary, of the requests for a shadow.")


class ReleaseState(BaseModel):
    """One release in this adapter."""

    release: int
    name: str = Field(description="As answers name it.")
    state: State
    why: str = Field(description="Why it is refused or has to wait; empty otherwise.")
    since: str | None = Field(description="Since when it is so, ISO 8601; null from the start.")


class ReleasesStatus(BaseModel):
    """Which releases have traffic here, and what the document wants."""

    model_config = ConfigDict(json_schema_extra={"example": examples.RELEASES})

    version: int = Field(description="Of the document in force; 0 where none was ever written.")
    followed: bool = Field(description="Whether there is a document to follow, as `RACKSORT_RELEASES` says.")
    broken: str = Field(description="Why the document can't be read now, while the one before stays in force.")
    change: str = Field(description="The last change.")
    why: str = Field(description="Its reason, where one was given.")
    changed_at: str
    wanted_live: int = Field(description="The release that the document wants to be live.")
    wanted_canary: ReleasePart | None
    wanted_shadow: ReleasePart | None
    live: int = Field(description="The release that is live now.")
    canary: int | None = Field(description="The release that the canary's customers get now.")
    shadow: int | None = Field(description="The release that ranks requests as well now.")
    previous: list[int] = Field(description="What a rollback goes back to, the latest first.")
    releases: list[ReleaseState]


def status(lanes: Lanes, releases: Releases | None) -> ReleasesStatus:
    """How it is now; ``releases`` is None where no document is followed."""
    live = lanes.live
    if releases is None:
        alone = ReleaseState(release=live.number, name=live.release, state=State.SERVING, why="", since=None)
        return ReleasesStatus(
            version=0,
            followed=False,
            broken="",
            change="",
            why="",
            changed_at="",
            wanted_live=live.number,
            wanted_canary=None,
            wanted_shadow=None,
            live=live.number,
            canary=None,
            shadow=None,
            previous=[],
            releases=[alone],
        )
    traffic = releases.traffic
    canary, shadow = traffic.canary, traffic.shadow
    return ReleasesStatus(
        version=traffic.version,
        followed=True,
        broken=releases.broken,
        change=traffic.change,
        why=traffic.why,
        changed_at=traffic.changed_at,
        wanted_live=traffic.live,
        wanted_canary=None if canary is None else ReleasePart(release=canary.release, percent=canary.percent),
        wanted_shadow=None if shadow is None else ReleasePart(release=shadow.release, percent=shadow.percent),
        live=live.number,
        canary=None if lanes.canary is None else lanes.canary.number,
        shadow=None if lanes.shadow is None else lanes.shadow.number,
        previous=list(traffic.previous),
        releases=[
            ReleaseState(
                release=number,
                name=contract.ensemble_name(number),
                state=known.state,
                why=known.why,
                since=datetime.fromtimestamp(known.since, UTC).isoformat("T", "seconds"),
            )
            for number, known in releases.states.items()
        ],
    )
