"""The supervisor's decisions on a virtual clock: a server and its canary are a script, nothing waits."""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble.errors import RacksortError
from ensemble.runtime.canary import Health, Verdict
from ensemble.runtime.supervision_policy import Policy, Restarts
from ensemble.runtime.supervision_status import State
from ensemble.runtime.supervisor import Supervisor
from ensemble.runtime.triton_server import ServerStoppedError

POLICY = Policy()
START_S = 2.0


@dataclass
class World:
    """A server, its canary and the time: both protocols in one, so that what happens to one shows in the other."""

    now: float = 1_000.0
    alive_: bool = True
    dead: tuple[str, ...] = ()
    beside: dict[int, str] = field(default_factory=dict)
    """Releases that aren't live of which a process has ended, until somebody was told."""
    takes_out: bool = True
    latency_s: float = 0.004
    """Of an inference; infinite where the server hangs."""
    health: Health = Health.HEALTHY
    """What it answers, if it does."""
    model: str | None = None
    reload_heals: bool = True
    restart_heals: bool = True
    restart_fails: bool = False
    stall_s: float = 0.0
    """How much longer than its limit a canary takes that gets no answer: the whole machine stands still."""
    canaries: int = 0
    done: list[tuple[float, str]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def alive(self) -> bool:
        return self.alive_

    def why_ended(self) -> str:
        return "Triton ended"

    def dead_models(self) -> tuple[str, ...]:
        return self.dead

    def dead_beside(self) -> dict[int, str]:
        told, self.beside = self.beside, {}
        return told

    def take_out(self, release: int, timeout_s: float) -> None:
        self.done.append((self.now, f"take out {release}"))
        if not self.takes_out:
            self.now += timeout_s
            raise RacksortError("Triton can't load")

    def reload(self, models: Sequence[str], timeout_s: float) -> None:
        self.done.append((self.now, f"reload {','.join(models) or 'all'}"))
        if self.latency_s > timeout_s:
            self.now += timeout_s
            raise RacksortError("Triton can't reload")
        self.now += 0.3
        if self.reload_heals:
            self.dead, self.health, self.model = (), Health.HEALTHY, None
            self.latency_s = 0.004

    def restart(self, grace_s: float) -> None:
        self.done.append((self.now, "kill" if grace_s == 0 else "restart"))
        self.now += grace_s + START_S
        self.dead, self.alive_ = (), not self.restart_fails
        if self.restart_fails:
            raise RacksortError("it doesn't load")
        if self.restart_heals:
            self.health, self.latency_s, self.model = Health.HEALTHY, 0.004, None

    def abandon(self) -> None:
        pass

    def close(self) -> None:
        pass

    def check(self, timeout_s: float) -> Verdict:
        self.canaries += 1
        if not self.alive_:
            return Verdict(Health.UNREACHABLE, "refused")
        if self.latency_s > timeout_s:
            self.now += timeout_s + self.stall_s
            return Verdict(Health.TIMEOUT, "no answer", timeout_s + self.stall_s)
        self.now += self.latency_s
        detail = "" if self.health is Health.HEALTHY else self.health.value
        return Verdict(self.health, detail, self.latency_s, self.model)

    @property
    def actions(self) -> list[str]:
        return [action for _, action in self.done]


def supervise(world: World, policy: Policy = POLICY) -> Supervisor:
    return Supervisor(world, world, policy, on_event=world.said.append, clock=lambda: world.now, uniform=lambda: 0.0)


def run(world: World, supervisor: Supervisor, seconds: float) -> None:
    end = world.now + seconds
    while world.now < end:
        pause = supervisor.step()  # moves the clock, too
        world.now += pause


def test_a_server_that_is_well_costs_a_canary_each_interval_and_no_word() -> None:
    world = World()
    supervisor = supervise(world)
    run(world, supervisor, 60)
    assert supervisor.status.healthy
    assert not world.done
    assert not world.said


def test_where_traffic_shows_that_it_ranks_canaries_are_few() -> None:
    world = World()
    supervisor = Supervisor(world, world, POLICY, proven=lambda: world.now - 0.01, clock=lambda: world.now)
    run(world, supervisor, 60)
    assert 25 <= world.canaries <= 35
    assert supervisor.status.healthy


@pytest.mark.parametrize("since", [0.0, 0.05, 0.099, 0.15, 1.0])
def test_a_hang_is_noticed_within_a_second_of_the_last_proof(since: float) -> None:
    """However long ago the latest look was when the last good call ended."""
    world = World()
    last_good = [world.now]
    supervisor = Supervisor(world, world, POLICY, proven=lambda: last_good[0], clock=lambda: world.now)
    for _ in range(5):
        last_good[0] = world.now
        world.now += supervisor.step()
    last_good[0] = hung = world.now - since
    world.latency_s = math.inf
    run(world, supervisor, 1.5)
    noticed = supervisor.status.noticed_at
    assert noticed is not None
    assert noticed - hung <= 1.0 + since


def test_a_dead_process_is_seen_although_traffic_still_shows_it_ranking() -> None:
    world = World()
    supervisor = Supervisor(world, world, POLICY, proven=lambda: world.now, clock=lambda: world.now)
    run(world, supervisor, 1.0)
    world.dead = ("ranking",)
    run(world, supervisor, 0.3)
    assert world.actions == ["reload ranking"]


def lost_beside(world: World, times: int = 1) -> list[str]:
    """What happens while release 2, which isn't live, loses a process so often."""
    order: list[str] = []
    supervisor = Supervisor(
        world,
        world,
        POLICY,
        on_event=world.said.append,
        on_lost=lambda release, why: order.append(f"{release}: {why}, after {len(world.done)}"),
        clock=lambda: world.now,
    )
    for _ in range(times):
        world.beside = {2: "its ranking process ended (signal 9)"}
        run(world, supervisor, 1.0)
        assert supervisor.status.healthy
    assert (supervisor.status.reloads, supervisor.status.restarts, supervisor.status.troubles) == (0, 0, 0)
    return order


def test_what_isnt_live_goes_alone_however_often_its_process_ends() -> None:
    world = World()
    told = lost_beside(world, times=10)
    assert told == [f"2: its ranking process ended (signal 9), after {taken}" for taken in range(10)]  # told first
    assert world.actions == ["take out 2"] * 10
    assert world.said[0] == "release 2 can't rank any more and goes: its ranking process ended (signal 9)"


def test_what_isnt_live_and_cant_be_unloaded_is_said_and_left() -> None:
    world = World(takes_out=False)
    lost_beside(world)
    assert world.actions == ["take out 2"]
    assert world.said[-1] == "release 2 couldn't be unloaded: Triton can't load"


def test_a_process_of_the_live_release_is_reloaded_after_the_others_have_gone() -> None:
    world = World(dead=("ranking",), beside={2: "its ranking process ended"})
    run(world, supervise(world), 5)
    assert world.actions == ["take out 2", "reload ranking"]


def test_a_server_that_ended_is_restarted_at_once() -> None:
    world = World(alive_=False)
    supervisor = supervise(world)
    supervisor.step()
    assert world.done == [(1_000.0, "kill")]
    run(world, supervisor, 5)
    status = supervisor.status
    assert (status.restarts, status.troubles, status.why) == (1, 1, "Triton ended")
    assert status.noticed_at == 1_000.0
    assert status.healed_at == pytest.approx(1_000.0 + START_S, abs=0.1)
    assert [line.split(":")[0].split(" after")[0] for line in world.said] == [
        "Triton doesn't rank",
        "restarting Triton",
        "Triton ranks again",
    ]


def test_a_dead_model_process_is_reloaded_at_once() -> None:
    world = World(dead=("ranking",))
    supervisor = supervise(world)
    run(world, supervisor, 5)
    assert world.actions == ["reload ranking"]
    assert supervisor.status.healthy


def test_a_reload_that_does_not_help_is_followed_by_a_restart_with_grace() -> None:
    world = World(dead=("ranking",), reload_heals=False)
    run(world, supervise(world), 10)
    assert world.actions == ["reload ranking", "restart"]


def test_too_many_reloads_end_in_a_restart() -> None:
    world = World()
    supervisor = supervise(world)
    for _ in range(POLICY.most_reloads + 1):
        world.dead = ("ranking",)
        run(world, supervisor, 5)
    assert world.actions == ["reload ranking"] * POLICY.most_reloads + ["restart"]


@pytest.mark.parametrize(("model", "reloaded"), [("ranking", "reload ranking"), (None, "reload all")])
def test_two_errors_reload_what_they_name(model: str | None, reloaded: str) -> None:
    world = World(health=Health.FAILED, model=model)
    supervisor = supervise(world)
    supervisor.step()
    assert not world.done
    assert supervisor.status.state is State.SUSPECT
    run(world, supervisor, 5)
    assert world.actions == [reloaded]


def test_a_hanging_server_is_noticed_within_a_second_and_killed_after_the_patient_canary() -> None:
    world = World()
    supervisor = supervise(world)
    run(world, supervisor, 1)
    hung_at, world.latency_s = world.now, float("inf")
    run(world, supervisor, 10)
    status = supervisor.status
    assert status.noticed_at is not None
    assert status.noticed_at - hung_at <= 1.0
    assert world.actions == ["kill"]
    assert POLICY.patience_s <= world.done[0][0] - hung_at <= POLICY.patience_s + 1.0


def test_a_model_process_that_is_stopped_shows_as_silence_and_error_in_turn_and_is_healed() -> None:
    world = World(latency_s=1.0, health=Health.FAILED, model="ranking")
    supervisor = supervise(world)
    run(world, supervisor, 10)
    assert world.actions[0] == "reload ranking"
    assert supervisor.status.noticed_at == pytest.approx(1_000.0 + POLICY.canary_timeout_s)


def test_a_machine_that_stood_still_is_no_reason_to_kill() -> None:
    world = World(latency_s=float("inf"), stall_s=POLICY.starved_s + 0.1)
    supervisor = supervise(world)
    run(world, supervisor, 20)
    assert not world.done
    world.stall_s = 0.0
    run(world, supervisor, 5)
    assert world.actions == ["kill"]


def test_a_server_that_stays_slow_is_said_to_be_once_and_is_well_when_it_is_quick_again() -> None:
    world = World(latency_s=1.2)
    supervisor = supervise(world)
    run(world, supervisor, 60)
    assert not world.done
    assert not supervisor.status.healthy
    assert len(world.said) == 1
    world.latency_s = 0.1
    run(world, supervisor, 5)
    assert supervisor.status.healthy
    assert len(world.said) == 2


def test_too_busy_is_said_and_left_alone() -> None:
    world = World(health=Health.BUSY)
    supervisor = supervise(world)
    run(world, supervisor, 600)
    assert not world.done
    assert not supervisor.status.healthy
    assert len(world.said) == 1


def test_it_gives_up_once_and_clearly_but_tries_on_slowly_until_it_works() -> None:
    world = World(alive_=False, restart_fails=True)
    supervisor = supervise(world)
    run(world, supervisor, 600)
    times = [at for at, _ in world.done]
    pauses = [later - earlier - START_S for earlier, later in itertools.pairwise(times)]
    assert pauses[: POLICY.most_restarts - 1] == pytest.approx([0.5, 1, 2, 4], abs=0.01)
    assert pauses[POLICY.most_restarts - 1 :] == pytest.approx(
        [POLICY.retry_s] * (len(pauses) - POLICY.most_restarts + 1), abs=0.01
    )
    assert supervisor.status.state is State.GAVE_UP
    assert len([line for line in world.said if "too often" in line]) == 1
    world.restart_fails = False
    run(world, supervisor, POLICY.retry_s + 10)
    assert supervisor.status.healthy
    assert "ranks again" in world.said[-1]


def test_a_server_that_somebody_stopped_ends_supervision() -> None:
    class Stopped(World):
        def restart(self, grace_s: float) -> None:
            raise ServerStoppedError(f"stopped, with a grace of {grace_s} s")

    with pytest.raises(ServerStoppedError):
        supervise(Stopped(alive_=False)).step()


@given(
    slow=st.lists(st.floats(min_value=0.0, max_value=POLICY.patience_s * 0.99), max_size=40),
)
def test_a_server_that_answers_within_the_patience_is_never_touched(slow: list[float]) -> None:
    world = World()
    supervisor = supervise(world)
    for latency in slow:
        world.latency_s = latency
        pause = supervisor.step()
        world.now += pause
    assert not world.done
    world.latency_s = 0.004
    run(world, supervisor, 1)
    assert supervisor.status.healthy


FAULTS = st.sampled_from(["nothing", "end", "stub", "hang", "error", "nonsense", "busy", "unreachable"])
STEPS = st.tuples(FAULTS, st.booleans(), st.booleans(), st.booleans(), st.floats(min_value=0.0, max_value=90.0))


@given(steps=st.lists(STEPS, max_size=12), uniform=st.floats(min_value=0.0, max_value=1.0, exclude_max=True))
def test_whatever_happens_it_acts_within_its_limits_and_heals_in_the_end(
    steps: list[tuple[str, bool, bool, bool, float]], uniform: float
) -> None:
    world = World()
    supervisor = Supervisor(world, world, POLICY, clock=lambda: world.now, uniform=lambda: uniform)
    for fault, reload_heals, restart_heals, restart_fails, seconds in steps:
        world.reload_heals, world.restart_heals, world.restart_fails = reload_heals, restart_heals, restart_fails
        if fault == "end":
            world.alive_ = False
        elif fault == "stub":
            world.dead = ("ranking",)
        elif fault == "hang":
            world.latency_s = float("inf")
        elif fault != "nothing":
            world.health = {"error": Health.FAILED}.get(fault) or Health(fault)
        run(world, supervisor, seconds)
    world.restart_heals, world.restart_fails, world.reload_heals = True, False, True
    if world.health is Health.BUSY:
        world.health = Health.HEALTHY
    run(world, supervisor, POLICY.retry_s * (1 + POLICY.spread) + 30)
    assert supervisor.status.healthy

    restarts = [at for at, action in world.done if not action.startswith("reload")]
    assert len(restarts) == supervisor.status.restarts
    for index, at in enumerate(restarts):
        within = [other for other in restarts[: index + 1] if at - other < POLICY.window_s]
        assert len(within) <= POLICY.most_restarts + POLICY.window_s / POLICY.retry_s + 1
    for earlier, later in itertools.pairwise(restarts):
        assert later - earlier >= START_S + POLICY.first_delay_s - 1e-6


@given(
    pauses=st.lists(st.floats(min_value=0.0, max_value=400.0), min_size=1, max_size=30),
    uniform=st.floats(min_value=0.0, max_value=1.0, exclude_max=True),
)
def test_delays_grow_within_bounds(pauses: list[float], uniform: float) -> None:
    restarts = Restarts(POLICY, lambda: uniform)
    now = 0.0
    for pause in pauses:
        now = max(now + pause, restarts.due())
        restarts.begun(now)
        restarts.ended(now)
        delay = restarts.due() - now
        longest = POLICY.retry_s if restarts.given_up else POLICY.longest_delay_s
        assert POLICY.first_delay_s - 1e-6 <= delay <= longest * (1 + POLICY.spread) + 1e-6


@pytest.mark.parametrize(
    "wrong",
    [
        {"interval_s": 0.0},
        {"interval_s": 3.0},
        {"canary_timeout_s": 9.0},
        {"patience_s": float("nan")},
        {"grace_s": -1.0},
        {"most_restarts": 0},
        {"longest_delay_s": 0.1},
    ],
)
def test_a_policy_that_cannot_work_is_refused_by_name(wrong: dict[str, float]) -> None:
    with pytest.raises(RacksortError, match=next(iter(wrong))):
        replace(POLICY, **wrong)  # type: ignore[arg-type]


def test_its_thread_ends_when_told_although_its_server_is_being_restarted() -> None:
    class Slow(World):
        begun = threading.Event()
        abandoned = threading.Event()

        def restart(self, grace_s: float) -> None:
            self.begun.set()
            assert self.abandoned.wait(30)
            raise ServerStoppedError(f"stopped, with a grace of {grace_s} s")

        def abandon(self) -> None:
            self.abandoned.set()

    world = Slow(alive_=False)
    supervisor = Supervisor(world, world)
    with supervisor:
        assert world.begun.wait(30)
    assert not supervisor._thread.is_alive()


def test_a_fault_of_its_own_does_not_end_supervision() -> None:
    class Odd(World):
        looks = 0
        went_on = threading.Event()

        def alive(self) -> bool:
            Odd.looks += 1
            if Odd.looks == 1:
                raise OSError("too many open files")
            self.went_on.set()
            return True

    world = Odd()
    with Supervisor(world, world, on_event=world.said.append):
        assert world.went_on.wait(30)
    assert "too many open files" in world.said[0]
