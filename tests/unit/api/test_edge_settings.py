"""Limits of the edge: which settings fit together, and what the process can bear."""

from __future__ import annotations

import resource

import pytest
from prometheus_client import CollectorRegistry

from api.errors import SettingsInvalid
from api.parameters import MAX_QUERY_STRING
from api.settings import Settings
from api.transport import descriptors
from api.transport.counts import Cause, Counts
from api.transport.limits import Limits


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({"drain_ms": 10_000}, "RACKSORT_DRAIN_MS .* RACKSORT_GRACE_MS"),
        ({"drain_ms": 500, "grace_ms": 500}, "RACKSORT_DRAIN_MS .* RACKSORT_GRACE_MS"),
        ({"max_head_bytes": MAX_QUERY_STRING}, "RACKSORT_MAX_HEAD_BYTES"),
        ({"max_connections": 0}, "RACKSORT_MAX_CONNECTIONS"),
        ({"receive_timeout_ms": 0}, "RACKSORT_RECEIVE_TIMEOUT_MS"),
        ({"keep_alive_ms": 0}, "RACKSORT_KEEP_ALIVE_MS"),
    ],
)
def test_limits_that_make_no_sense_are_one_line(given: dict[str, int], names: str) -> None:
    with pytest.raises(SettingsInvalid, match=names) as caught:
        Settings.load(**given)
    assert "\n" not in str(caught.value)


def test_limits_are_the_settings() -> None:
    limits = Limits.of(Settings(receive_timeout_ms=500, keep_alive_ms=900, max_body_bytes=2_000, max_connections=3))
    assert limits == Limits(receive_s=0.5, keep_alive_s=0.9, head_bytes=32_768, body_bytes=2_000, connections=3)
    assert limits.wire_bytes == 32_768 + 4_000


@pytest.mark.parametrize(
    ("soft", "hard", "fit", "raised_to"),
    [
        (65_536, 65_536, 4_096, None),
        (1_024, 65_536, 4_096, 4_352),
        (1_024, resource.RLIM_INFINITY, 4_096, 4_352),
        (1_024, 2_048, 1_792, 2_048),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, 4_096, None),
        (64, 64, 1, 64),
    ],
)
def test_descriptors_are_asked_for(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, fit: int, raised_to: int | None
) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(descriptors.resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(descriptors.resource, "setrlimit", lambda _, limits: asked.append(limits))
    assert descriptors.room_for(4_096) == fit
    assert asked == ([] if raised_to is None else [(raised_to, hard)])


def test_where_more_files_are_refused_fewer_connections_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_kind: int, _limits: tuple[int, int]) -> None:
        raise OSError("not for you")

    monkeypatch.setattr(descriptors.resource, "getrlimit", lambda _: (1_024, 65_536))
    monkeypatch.setattr(descriptors.resource, "setrlimit", refuse)
    assert descriptors.room_for(4_096) == 768


def test_every_cause_is_a_metric_from_the_start() -> None:
    counts, registry = Counts(), CollectorRegistry()
    counts.expose(registry, lambda: 5)
    counts.closed[Cause.SLOW_REQUEST] += 2
    found = {cause: registry.get_sample_value("racksort_connections_closed_total", {"cause": cause}) for cause in Cause}
    assert found == dict.fromkeys(Cause, 0.0) | {Cause.SLOW_REQUEST: 2.0}
    assert registry.get_sample_value("racksort_connections") == 5
