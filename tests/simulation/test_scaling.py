"""The autoscalers' rules hold through a day with two spikes, a costly hour and a lost node; and others don't."""

from __future__ import annotations

import json
import statistics
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from api.resilience.limiter import Limiter
from ensemble.errors import RacksortError
from racksort.cli import app
from racksort.dev.capacity import costs as capacity
from racksort.dev.capacity.report import fitted
from racksort.dev.scaling import report
from racksort.dev.scaling.cluster import STEP_S, Cluster
from racksort.dev.scaling.outcome import SEEDS, TURNS, judged, summed
from racksort.dev.scaling.rule import read
from racksort.dev.scaling.search import CHOSEN, better, neighbours, rivals, without_alarms
from racksort.dev.scaling.service import BATCH, GRIDS, LISTED_S, TARGET_S, Costs, settle
from racksort.dev.scaling.workload import HOUR_S, Workload
from tests.k8s.manifests import ROOT
from tests.simulation.queueing import POLICY, Conditions, Server, World, constantly

MANIFESTS = ROOT / "k8s" / "components" / "autoscaling"
MEASURED = ROOT / "docs" / "capacity.json"


def test_the_manifests_have_the_chosen_figures() -> None:
    assert read(MANIFESTS) == CHOSEN.rules


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_the_settled_queue_agrees_with_requests_one_by_one(share: float) -> None:
    server = Server()
    costs = Costs(call_s=2 * server.work(0), row_s=2 * (server.work(1) - server.work(0)), used=1.0, hop_s=0.0)
    load = share * server.capacity
    trace = World(lambda clock, _: Limiter(POLICY, clock), Conditions(constantly(load)), server=server).run(60)
    latency = statistics.fmean(each for window in trace.latencies[20:] for each in window)
    settled = settle(costs, load, server.calls)
    assert settled.latency_s == pytest.approx(latency, rel=0.2)
    assert settled.served == pytest.approx(trace.goodput(20), rel=0.05)


@pytest.mark.parametrize("share", [1.5, 3.0])
def test_beyond_its_capacity_it_serves_what_requests_one_by_one_get(share: float) -> None:
    server = Server()
    costs = Costs(call_s=2 * server.work(0), row_s=2 * (server.work(1) - server.work(0)), used=1.0, hop_s=0.0)
    load = share * server.capacity
    trace = World(lambda clock, _: Limiter(POLICY, clock), Conditions(constantly(load)), server=server).run(60)
    settled = settle(costs, load, server.calls)
    assert settled.served == pytest.approx(trace.goodput(20), rel=0.05)
    assert settled.rows == server.batch


@pytest.mark.parametrize("sources", [1.0, 2.0, 4.0, 8.0])
@pytest.mark.parametrize("costs", [Costs(), GRIDS], ids=["mix", "grids"])
def test_what_the_limiter_would_refuse_is_not_served(costs: Costs, sources: float) -> None:
    served = []
    for load in range(100, 10_000, 100):
        settled = settle(costs, float(load), sources)
        assert settled.served <= min(load, costs.capacity) + 1e-6
        assert settled.latency_s <= TARGET_S + 1e-9
        served.append(settled.served)
    assert served == sorted(served)
    assert served[-1] == served[-2]  # all that there is


@pytest.fixture(scope="module")
def measured() -> dict[str, capacity.Costs]:
    return fitted(MEASURED, capacity.read(MEASURED))


def tritons_us(costs: capacity.Costs, rows: float) -> float:
    """Of a request, all of Triton's processes together."""
    return sum(each for name, each in costs.request_us(rows).items() if name != capacity.ADAPTER)


def test_the_costs_are_what_was_measured(measured: dict[str, capacity.Costs]) -> None:
    """A new benchmark must not leave the rules behind: these figures change with docs/capacity.json."""
    lists, grids = measured["lists"], measured["grids"]
    for costs, of in ((Costs(), (lists, grids)), (GRIDS, (grids,))):
        adapter_us = statistics.fmean(each.request_us(BATCH / 2)[capacity.ADAPTER] for each in of)
        assert costs.adapter_s * 1e6 == pytest.approx(adapter_us, rel=0.01)
        for rows in (1, BATCH):
            triton_us = statistics.fmean(tritons_us(each, rows) for each in of)
            assert (costs.call_s / rows + costs.row_s) * 1e6 == pytest.approx(triton_us, rel=0.01)
    assert pytest.approx(tritons_us(lists, BATCH), rel=0.01) == LISTED_S * 1e6


def test_the_deployments_say_what_was_measured() -> None:
    triton, adapter = (
        " ".join((ROOT / "k8s" / "base" / name / "deployment.yaml").read_text().replace("#", "").split())
        for name in ("triton", "adapter")
    )
    points = {(each.pools, each.connections): each.cpu_us for each in capacity.read(MEASURED)}
    cpu_us = [points[pools, connections] for pools in ("lists", "grids") for connections in (256, 64)]
    said = "{:.0f} to {:.0f} us of CPU a request for lists, {:.0f} to {:.0f} for grids"
    assert said.format(*(each[capacity.ADAPTER] for each in cpu_us)) in adapter
    assert said.format(*(sum(each.values()) - each[capacity.ADAPTER] for each in cpu_us)) in triton
    assert f"two cores rank {round(GRIDS.capacity, -1):,.0f} requests/s of grids at most" in triton


def test_triton_s_target_is_the_share_of_its_capacity_that_the_manifest_says() -> None:
    text = (MANIFESTS / "triton.yaml").read_text()
    assert f"{CHOSEN.rows / Costs().capacity:.0%}".replace("%", " %") in text


def test_the_precompute_job_begins_when_its_manifest_says_and_takes_tritons() -> None:
    job = yaml.safe_load((ROOT / "k8s" / "components" / "precomputed" / "cron-job.yaml").read_text())["spec"]
    minute, hour, *_ = job["schedule"].split()
    begin, end = Workload().precompute_s
    assert (int(hour) * HOUR_S + int(minute) * 60, job["timeZone"]) == (begin, "Etc/UTC")
    assert Workload().precompute_rows * (end - begin) == pytest.approx(20e6, rel=0.02)  # a million's lists, 20 each
    calm = Workload(spikes_s=(0.0,), noise=0.0)
    most = [
        max(Cluster(CHOSEN.rules, each, seed=0).run(4 * HOUR_S).tritons[int(begin / STEP_S) :])
        for each in (calm, replace(calm, precompute_rows=0.0))
    ]
    assert most[0] > most[1]


def test_calls_at_the_same_time_make_queues_whatever_the_load() -> None:
    """Why queue time is no measure of load: a real Triton shows the same (docs/kubernetes.md)."""
    costs = Costs()
    few, many = (settle(costs, share * costs.capacity, sources) for share, sources in ((0.69, 2), (0.23, 6)))
    assert many.queue_s > 3 * few.queue_s


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_promises_hold() -> None:
    days = [Cluster(CHOSEN.rules, Workload(), seed=seed).run() for seed in SEEDS]
    found = summed(days)
    assert found.holds, found
    lost = Workload().lost_s
    assert all(day.degraded(lost, lost + HOUR_S) < 0.005 for day in days)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", rivals(CHOSEN))
def test_other_rules_break_a_promise(name: str) -> None:
    found = judged(rivals(CHOSEN)[name])
    assert not found.holds, found
    if name.startswith("too full"):
        assert found.degraded > 0.05
    if name.startswith(("the first rule", "queue", "rows a call")):
        assert found.turns > 2 * TURNS  # flapping


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("used", "holds"), [(1.0, True), (0.65, True), (0.6, False)])
def test_how_far_the_capacity_may_be_from_what_was_reckoned(used: float, holds: bool) -> None:
    assert judged(CHOSEN.rules, used=used).holds is holds


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_alarms_cost_nothing_until_tritons_can_do_much_less() -> None:
    alone = without_alarms(CHOSEN)
    assert judged(CHOSEN.rules).core_hours < 1.01 * judged(alone).core_hours
    assert judged(CHOSEN.rules, used=0.5).degraded < judged(alone, used=0.5).degraded / 5


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_no_step_of_the_grid_is_better() -> None:
    chosen = judged(CHOSEN.rules)
    found = {each: judged(each.rules) for each in neighbours(CHOSEN)}
    assert [each for each, outcome in found.items() if better(outcome, chosen)] == []


def test_the_same_seed_gives_the_same_day() -> None:
    def loads(seed: int) -> list[float]:
        return Cluster(CHOSEN.rules, Workload(), seed=seed).run(HOUR_S).load

    assert loads(1) == loads(1) != loads(2)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_command_prints_and_draws_and_fails_for_rules_that_do_not_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "rivals", lambda chosen: dict([*rivals(chosen).items()][:1]))  # the others: see above
    monkeypatch.setattr(report, "_OTHERS", (0.5,))
    arguments = ["dev", "scaling", "--json", "--folder"]
    shown = CliRunner().invoke(app, [*arguments, str(MANIFESTS), "--plot", str(tmp_path / "day.svg")])
    assert shown.exit_code == 0, shown.output
    outcomes = json.loads(shown.stdout)["rules"]
    assert outcomes["the manifests"]["holds"]
    assert not outcomes[next(iter(rivals(CHOSEN)))]["holds"]
    assert (tmp_path / "day.svg").read_text().startswith("<?xml")
    for name in ("adapter", "triton"):
        text = (MANIFESTS / f"{name}.yaml").read_text()
        (tmp_path / f"{name}.yaml").write_text(text.replace("averageUtilization: 70", "averageUtilization: 90"))
    assert CliRunner().invoke(app, [*arguments, str(tmp_path)]).exit_code == 1


def test_the_command_names_a_manifest_that_is_missing(tmp_path: Path) -> None:
    shown = CliRunner().invoke(app, ["dev", "scaling", "--folder", str(tmp_path)])
    assert isinstance(shown.exception, RacksortError)
    assert "--folder" in str(shown.exception)
