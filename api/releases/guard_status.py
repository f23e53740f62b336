"""What an adapter says of its canary's guards, and of how releases compare."""

from __future__ import annotations

from datetime import UTC, datetime

from pydantic import BaseModel, Field

from api.releases.comparison import Comparison, Role
from api.releases.guard import Guard, Judgement, Verdict
from api.releases.guards import Guards


class GuardState(BaseModel):
    """One guard of the canary."""

    guard: Guard
    state: Judgement
    figure: float = Field(description="The canary's: a share, for `p99` seconds.")
    live: float | None = Field(description="The live release's in the same time; null for `churn`.")
    bound: float = Field(description="What the canary's may be.")
    observations: int = Field(description="Requests of its customers, or comparisons for `churn`.")
    window_s: float
    told: str = Field(description="All of it in words.")


class TakenBackState(BaseModel):
    """A canary that broke a guard in this adapter."""

    release: int
    guard: Guard
    why: str
    at: str
    unwritten: str = Field(description="Why the document still wants it; empty where it doesn't.")


class ComparisonState(BaseModel):
    """How far a release's rankings agree with the live one's, since it got its role. Null: nothing seen yet."""

    role: Role
    release: int
    live: int
    rankings: int = Field(description="Rows that both have ranked.")
    failed: int
    overlap_10: float | None = Field(description="Mean share of the first ten products that both have.")
    overlap_20: float | None
    rbo: float | None = Field(description="Mean rank-biased overlap, p = 0.9: 1 is the same order.")
    score_difference: float | None = Field(description="Mean absolute difference of the scores, of a few rows.")
    spearman: float | None = Field(description="Mean rank correlation of all candidates, of a few rows.")
    seconds: float | None = Field(description="Mean time of its calls.")
    live_seconds: float | None = Field(description="Mean time of the live release's calls with the same rows.")


class BesideState(BaseModel):
    """Guards and comparisons."""

    guards: list[GuardState] = Field(description="Of the canary; empty where there is none.")
    taken_back: TakenBackState | None = Field(description="The last canary that broke a guard here.")
    comparisons: list[ComparisonState]
    dropped: dict[str, int] = Field(description="Rankings that there was no time to compare, by reason.")


def beside(guards: Guards) -> BesideState:
    """How it is now."""
    found = ((role, guards.shadow.comparison(role)) for role in Role)
    return BesideState(
        guards=[_guard(verdict) for verdict in guards.verdicts],
        taken_back=_taken_back(guards),
        comparisons=[_comparison(role, each) for role, each in found if each is not None],
        dropped=dict(guards.shadow.dropped),
    )


def _guard(verdict: Verdict) -> GuardState:
    return GuardState(
        guard=verdict.guard,
        state=verdict.state,
        figure=verdict.figure,
        live=verdict.live,
        bound=verdict.bound,
        observations=verdict.observations,
        window_s=verdict.window_s,
        told=verdict.why,
    )


def _taken_back(guards: Guards) -> TakenBackState | None:
    if (last := guards.last) is None:
        return None
    return TakenBackState(
        release=last.release,
        guard=last.guard,
        why=last.why,
        at=datetime.fromtimestamp(last.at, UTC).isoformat("T", "seconds"),
        unwritten=guards.unwritten,
    )


def _comparison(role: Role, found: Comparison) -> ComparisonState:
    scored = found.scores()
    return ComparisonState(
        role=role,
        release=found.lane.number,
        live=found.live.number,
        rankings=found.rankings,
        failed=found.failed,
        overlap_10=found.mean(found.overlap_10),
        overlap_20=found.mean(found.overlap_20),
        rbo=found.mean(found.rbo),
        score_difference=None if scored is None else scored[0],
        spearman=None if scored is None else scored[1],
        seconds=found.mean(found.seconds),
        live_seconds=found.mean(found.live_seconds),
    )
