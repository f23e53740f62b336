"""Probes, orderly ends and disruptions."""

from __future__ import annotations

import importlib.util

from api.batcher import LAST_CALLS_S
from api.telemetry.export import LAST_SPANS_S
from api.telemetry.log_queue import LAST_LINES_S
from tests.k8s.manifests import Object, container, of_kind, one, pod, pods, selects, variables

_PROBES = ("startupProbe", "readinessProbe", "livenessProbe")
NAME_CACHE_S = 10
"""How long names are kept that have changed: CoreDNS' 5 s, and as much for the way of the change."""
ENDPOINTS_S = 5
"""Until every node has heard that an endpoint is gone."""
AFTER_GRACE_S = LAST_CALLS_S + 2.0 + LAST_SPANS_S + LAST_LINES_S
"""What an adapter takes to close after its grace, one after the other: calls, events, spans and the log's lines."""


def probed(objects: list[Object]) -> list[str]:
    """Every server has all three probes; the one that ends it has the most patience."""
    found = []
    for each in pods(objects):
        for server in each.spec["containers"] if each.serves else []:
            missing = [name for name in _PROBES if name not in server]
            found += [f"{each.name}: {server['name']} has no {name}" for name in missing]
            if not missing and _patience(server["livenessProbe"]) <= _patience(server["readinessProbe"]):
                found.append(f"{each.name}: {server['name']} is ended before it is left alone")
    return found


def _patience(probe: Object) -> float:
    return float(probe.get("periodSeconds", 10) * probe.get("failureThreshold", 3))


def probes_exist(objects: list[Object], paths: set[str]) -> list[str]:
    """Each probe asks one of the adapter's ``paths``, or runs a module that there is and has time to answer."""
    found = []
    for each in pods(objects):
        for server in each.spec["containers"]:
            release = variables(objects, container(objects, "adapter"))["RACKSORT_RELEASE"]
            for name in _PROBES:
                probe = server.get(name, {})
                if "httpGet" in probe and probe["httpGet"]["path"] not in paths:
                    found.append(f"{each.name}: {name}: there is no {probe['httpGet']['path']}")
                if "exec" in probe:
                    found += [f"{each.name}: {name}: {what}" for what in _wrong(probe, release)]
    return found


def _wrong(probe: Object, release: str) -> list[str]:
    command = probe["exec"]["command"]
    options = dict(zip(command[4::2], command[5::2], strict=True))
    found = []
    if command[:2] != ["python3", "-m"] or importlib.util.find_spec(command[2]) is None:
        found.append(f"{command[:3]} isn't a module that is run")
    if options["--release"] != release:
        found.append(f"asks for release {options['--release']}, not for that of the adapters")
    if probe["timeoutSeconds"] < int(options.get("--timeout-ms", 1_000)) / 1e3 + 2:
        found.append("is broken off before the probe gives up")
    return found


def ends_in_order(objects: list[Object]) -> list[str]:
    """The time until the kill is longer than all that is to be done before; connections have gone before the server."""
    found = []
    adapter = pod(objects, "adapter")
    settings = variables(objects, container(objects, "adapter"))
    grace, drain = int(settings["RACKSORT_GRACE_MS"]) / 1e3, int(settings["RACKSORT_DRAIN_MS"]) / 1e3
    if adapter.spec["terminationGracePeriodSeconds"] < grace + AFTER_GRACE_S:
        found.append("the adapter is killed before its grace is over")
    if drain < ENDPOINTS_S:
        found.append("the adapter stops to listen before everybody knows that it ends")
    triton = pod(objects, "triton")
    server = container(objects, "triton")
    options = dict(argument.removeprefix("--").split("=", 1) for argument in server["args"] if "=" in argument)
    wait = int(server["lifecycle"]["preStop"]["exec"]["command"][-1])
    ages = int(options["grpc-max-connection-age"]) / 1e3 * 1.1 + int(options["grpc-max-connection-age-grace"]) / 1e3
    if wait < ages + NAME_CACHE_S:
        found.append("Triton stops while adapters are still connected")
    if triton.spec["terminationGracePeriodSeconds"] < wait + int(options["exit-timeout-secs"]) + 5:
        found.append("Triton is killed before it has answered what it has")
    return found


def disrupted_one_by_one(objects: list[Object]) -> list[str]:
    """Deployments have a budget for disruptions, spread over nodes, and keep what they have in updates."""
    found = []
    budgets = list(of_kind(objects, "PodDisruptionBudget"))
    classes = {each["metadata"]["name"] for each in of_kind(objects, "PriorityClass")}
    for each in pods(objects):
        if each.spec.get("priorityClassName") not in classes:
            found.append(f"{each.name}: has no priority")
        if each.owner["kind"] != "Deployment":
            continue
        mine = [budget for budget in budgets if selects(budget["spec"]["selector"], each.labels)]
        if len(mine) != 1 or mine[0]["spec"].get("maxUnavailable") != 1:
            found.append(f"{each.name}: isn't disrupted one by one")
        spread = {
            rule["topologyKey"]
            for rule in each.spec.get("topologySpreadConstraints", [])
            if selects(rule["labelSelector"], each.labels)
        }
        if spread != {"kubernetes.io/hostname", "topology.kubernetes.io/zone"}:
            found.append(f"{each.name}: doesn't spread over nodes and zones")
        if any(rule.get("nodeTaintsPolicy") != "Honor" for rule in each.spec.get("topologySpreadConstraints", [])):
            found.append(f"{each.name}: counts nodes that it may not run on")
        if each.owner["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] != 0:
            found.append(f"{each.name}: an update takes replicas away")
    return found


def scaled_by_one(objects: list[Object]) -> list[str]:
    """A Deployment that an autoscaler owns names no number of replicas itself."""
    found = []
    for scaler in of_kind(objects, "HorizontalPodAutoscaler"):
        target = scaler["spec"]["scaleTargetRef"]
        if "replicas" in one(objects, target["kind"], target["name"])["spec"]:
            found.append(f"{target['name']}: an apply would undo what the autoscaler has done")
    return found
