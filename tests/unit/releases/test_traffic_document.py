"""The document of releases: every change leads to one that can be read, and does what its name says."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.errors import ReleasesInvalid
from api.releases import document as verbs
from api.releases.document import MOST_CANARY, MOST_HISTORY, MOST_PREVIOUS, Traffic, decoded, encoded

AT = datetime(2026, 11, 27, 9, tzinfo=UTC)

Verb = Callable[[Traffic], Traffic]

RELEASES = st.integers(1, 4)
VERBS = st.one_of(
    st.builds(lambda n: lambda t: verbs.promote(t, n, at=AT), RELEASES),
    st.builds(lambda n, p: lambda t: verbs.canary(t, n, p, at=AT), RELEASES, st.floats(0.01, MOST_CANARY)),
    st.builds(lambda n, p: lambda t: verbs.shadow(t, n, p, at=AT), RELEASES, st.floats(0.01, 100)),
    st.just(lambda t: verbs.rollback(t, at=AT)),
    st.just(lambda t: verbs.end_canary(t, at=AT)),
    st.just(lambda t: verbs.end_shadow(t, at=AT)),
)


def after(changes: list[Verb], traffic: Traffic | None = None) -> Traffic:
    """What the changes lead to; those that are refused change nothing."""
    traffic = traffic or Traffic(1)
    for change in changes:
        try:
            traffic = change(traffic)
        except ReleasesInvalid:
            continue
    return traffic


@given(st.lists(VERBS, max_size=40))
def test_whatever_is_changed_can_be_read_again_and_contradicts_itself_nowhere(changes: list[Verb]) -> None:
    traffic = after(changes)
    assert decoded(encoded(traffic), "here") == traffic
    assert traffic.wanted[0] == traffic.live
    assert len(set(traffic.wanted)) == len(traffic.wanted)
    assert traffic.live not in traffic.previous
    assert len(set(traffic.previous)) == len(traffic.previous) <= MOST_PREVIOUS
    assert len(traffic.history) == min(traffic.version, MOST_HISTORY)
    assert [each.version for each in traffic.history] == list(
        range(traffic.version, traffic.version - len(traffic.history), -1)
    )
    assert not traffic.history or traffic.history[0].live == traffic.live


@given(st.lists(VERBS, max_size=20), VERBS)
def test_each_change_makes_the_next_version_or_none(changes: list[Verb], change: Verb) -> None:
    before = after(changes)
    try:
        changed = change(before)
    except ReleasesInvalid:
        return
    assert changed.version == before.version + 1
    assert changed.changed_at == AT.isoformat()


@given(st.lists(VERBS, max_size=20), RELEASES)
def test_a_rollback_after_a_promotion_brings_back_what_was_live(changes: list[Verb], release: int) -> None:
    before = after(changes)
    if release == before.live:
        if before.version == 0:  # the first document says which one is live, and that it is the first known
            assert verbs.promote(before, release, at=AT).previous == ()
            return
        with pytest.raises(ReleasesInvalid, match="live already"):
            verbs.promote(before, release, at=AT)
        return
    promoted = verbs.promote(before, release, at=AT)
    assert promoted.live == release
    assert release not in [share.release for share in (promoted.canary, promoted.shadow) if share is not None]
    back = verbs.rollback(promoted, at=AT)
    assert back.live == before.live
    assert back.canary is None
    assert back.previous == tuple(each for each in before.previous if each != release)[: MOST_PREVIOUS - 1]


@given(st.lists(VERBS, max_size=20), VERBS)
def test_what_didnt_work_out_is_put_back_and_stays_in_the_history(changes: list[Verb], change: Verb) -> None:
    before = after(changes)
    try:
        changed = change(before)
    except ReleasesInvalid:
        return
    back = verbs.put_back(changed, before, at=AT, why="it can't be loaded")
    assert (back.live, back.previous, back.canary, back.shadow) == (
        before.live,
        before.previous,
        before.canary,
        before.shadow,
    )
    assert back.version == changed.version + 1
    assert back.why == "it can't be loaded"


@pytest.mark.parametrize("percent", [0, -1, 0.004, MOST_CANARY + 0.1, float("nan"), float("inf")])
def test_a_canarys_share_has_bounds(percent: float) -> None:
    with pytest.raises(ReleasesInvalid, match=r"a canary takes at least 0\.01 and at most 50 percent"):
        verbs.canary(Traffic(1), 2, percent, at=AT)


@pytest.mark.parametrize("percent", [0, 1e-309, 0.0099, 100.5, float("nan")])
def test_a_shadows_share_has_bounds(percent: float) -> None:
    with pytest.raises(ReleasesInvalid, match="at most 100"):
        verbs.shadow(Traffic(1), 2, percent, at=AT)


@pytest.mark.parametrize("verb", [verbs.canary, verbs.shadow])
def test_the_live_release_has_no_second_part(verb: Callable[..., Traffic]) -> None:
    with pytest.raises(ReleasesInvalid, match="release 3 is live"):
        verb(Traffic(3), 3, 5, at=AT)


def test_what_isnt_there_cant_be_ended() -> None:
    with pytest.raises(ReleasesInvalid, match="no canary"):
        verbs.end_canary(Traffic(1), at=AT)
    with pytest.raises(ReleasesInvalid, match="no shadow"):
        verbs.end_shadow(Traffic(1), at=AT)
    with pytest.raises(ReleasesInvalid, match="promote one"):
        verbs.rollback(Traffic(1), at=AT)
    with pytest.raises(ReleasesInvalid, match="canary --off"):
        verbs.rollback(verbs.canary(Traffic(1), 2, 5, at=AT), at=AT)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{",
        b"\xff",
        b"{}",
        b'{"live": 0}',
        b'{"live": "1"}',
        b'{"live": 1, "version": -1}',
        b'{"live": 1, "canery": null}',
        b'{"live": 1, "canary": {"release": 1, "percent": 5}}',
        b'{"live": 1, "canary": {"release": 2, "percent": 60}}',
        b'{"live": 1, "shadow": {"release": 2, "percent": 101}}',
        b'{"live": 1, "shadow": {"release": 2, "percent": 1e-309}}',
    ],
)
def test_anything_else_is_refused_in_one_line_that_names_the_file(content: bytes) -> None:
    with pytest.raises(ReleasesInvalid, match=r"^releases\.json: isn't a document of releases") as refused:
        decoded(content, "releases.json")
    assert "\n" not in str(refused.value)


def test_the_format_is_the_documented_one() -> None:
    traffic = verbs.canary(Traffic(1), 2, 5, at=AT, why="trial")
    assert msgspec.json.decode(encoded(traffic)) == {
        "version": 1,
        "live": 1,
        "previous": [],
        "canary": {"release": 2, "percent": 5.0},
        "shadow": None,
        "changed_at": "2026-11-27T09:00:00+00:00",
        "change": "canary 2 at 5 %",
        "why": "trial",
        "history": [
            {
                "version": 1,
                "at": "2026-11-27T09:00:00+00:00",
                "change": "canary 2 at 5 %",
                "live": 1,
                "why": "trial",
            }
        ],
    }
