"""Random schedules of publishing, withdrawing and collecting, each of which may die at any of its steps."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ensemble.errors import RacksortError
from ensemble.releases import staging
from ensemble.releases.gc import collect
from ensemble.releases.layout import numbers_in, release_in
from ensemble.releases.publish import Publisher, publish
from ensemble.releases.verify import verify
from ensemble.releases.withdraw import withdraw
from tests.unit.releases.candidates import releases_in, small

LIVE = 1
"""Serves all the time."""
NUMBERS = (2, 3, 4)
NEVER = 99
MEMORY = Path("/dev/shm")
"""Where syncing costs nothing; what a power cut leaves is not seen here."""


class Killed(BaseException):
    """Stands for ``kill -9``: nothing that runs afterwards may have an effect."""


@dataclass(frozen=True)
class Operation:
    verb: str
    number: int
    content: str
    dies_at: int
    """The step after which it dies; NEVER is beyond all of them."""


OPERATIONS = st.builds(
    Operation,
    st.sampled_from(("publish", "publish", "withdraw", "collect")),
    st.sampled_from(NUMBERS),
    st.sampled_from(("a", "b")),
    st.one_of(st.just(NEVER), st.integers(0, 25)),
)


def run(operation: Operation, repository: Path, candidates: Path) -> bool:
    """Do it; whether it came to its end."""
    steps, dead = 0, False

    def step(_name: str) -> None:
        nonlocal steps, dead
        if steps == operation.dies_at:
            dead = True
            raise Killed
        steps += 1

    discard = staging.discard

    def mortal(*arguments: object) -> int:
        """A dead process cleans nothing up."""
        if dead:
            raise Killed
        return discard(*arguments)  # type: ignore[arg-type]  # as it was called

    work: dict[str, Callable[[], object]] = {
        "publish": lambda: publish(
            release_in(candidates / f"{operation.number}{operation.content}"), repository, Publisher("0.1.0", step=step)
        ),
        "withdraw": lambda: withdraw(repository, operation.number, {LIVE}, step=step),
        "collect": lambda: collect(repository, {LIVE, operation.number}, keep=1, step=step),
    }
    with mock.patch.object(staging, "discard", mortal):
        try:
            work[operation.verb]()
        except Killed:
            return False
        except RacksortError:
            return True  # refused: another content is published, or nothing is there to withdraw
    return True


@pytest.fixture(scope="module")
def candidates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("candidates")
    for number in (LIVE, *NUMBERS):
        for content in "ab":
            small(folder / f"{number}{content}", number, content)
    return folder


def contents(repository: Path) -> dict[int, str]:
    """What each published release holds, by its number; every one is whole."""
    for number in numbers_in(repository):
        verify(release_in(repository, number))
    return {
        release.number: (release.version_dirs["product_pool"] / "model.onnx").read_text()[-1]
        for release in releases_in(repository)
        if release.number != LIVE
    }


@pytest.mark.slow
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(schedule=st.lists(OPERATIONS, min_size=1, max_size=8))
def test_every_release_is_whole_or_absent_whatever_dies(candidates: Path, schedule: list[Operation]) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        repository = Path(folder)
        publish(release_in(candidates / "1a"), repository, Publisher("0.1.0"))
        known: dict[int, str] = {}
        for operation in schedule:
            ended = run(operation, repository, candidates)
            found = contents(repository)
            assert LIVE in numbers_in(repository)
            if operation.verb == "publish":
                wanted = known if operation.number in known else known | {operation.number: operation.content}
            elif operation.verb == "withdraw":
                wanted = {number: content for number, content in known.items() if number != operation.number}
            else:
                newest = max(known, default=LIVE)
                wanted = {n: content for n, content in known.items() if n in (newest, operation.number)}
            if ended:
                assert found == wanted
            else:  # some of the change, each release of it whole or not at all
                assert {*(known.items() & wanted.items())} <= {*found.items()} <= {*known.items(), *wanted.items()}
            known = found
        collect(repository, {LIVE}, keep=9)
        assert contents(repository) == known
        assert staging.left_behind(repository) == []
        assert collect(repository, {LIVE}, keep=9).unknown == ()
