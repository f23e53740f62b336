"""An autoscaler's rule, as its manifest has it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from ensemble.errors import RacksortError

CPU: Final = "cpu"
"""Share of the CPU that a pod asks for."""
SHARE: Final = "racksort_limited_share"
"""Requests in an adapter's limiter, as a share of its limit."""
QUEUE: Final = "racksort_triton_queue_seconds"
"""Mean time that a call waits in the queue of the slowest composing model, in seconds."""
SHARE_OF_ALL: Final = "racksort_adapters_limited_share"
"""The mean of ``SHARE`` over adapters, for an autoscaler of other pods: an external metric."""
ROWS: Final = "racksort_triton_rows_per_second"
"""Requests that a Triton ranks in a second, whatever calls they come in."""
FILL: Final = "racksort_triton_rows_per_call"
"""Requests of a call."""
PENDING: Final = "racksort_triton_pending"
"""Calls that wait in that queue."""

FOLDER: Final = Path("k8s/components/autoscaling")


@dataclass(frozen=True, slots=True)
class Policy:
    """How far the number of pods may move in a period."""

    kind: Literal["Pods", "Percent"]
    value: int
    period_s: int


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How a rule moves one way. The policy that lets it move furthest counts, as is Kubernetes' default."""

    window_s: int
    """The most cautious of the recommendations of this time is followed."""
    policies: tuple[Policy, ...]


@dataclass(frozen=True, slots=True)
class Rule:
    """A HorizontalPodAutoscaler's specification."""

    least: int
    most: int
    targets: tuple[tuple[str, float], ...]
    """Metrics, averaged over pods where they are of pods, and what they should be."""
    up: Behaviour
    down: Behaviour


@dataclass(frozen=True, slots=True)
class Rules:
    """Both autoscalers'."""

    adapter: Rule
    triton: Rule


def read(folder: Path = FOLDER) -> Rules:
    """The rules of the manifests.

    Raises:
        RacksortError: there is no such file.
    """
    return Rules(_rule(folder / "adapter.yaml"), _rule(folder / "triton.yaml"))


def _rule(path: Path) -> Rule:
    import yaml  # noqa: PLC0415 - a package of development, which serving doesn't have

    if not path.is_file():
        raise RacksortError(f"{path} is missing: run this in the repository, or name the folder with --folder")
    spec = yaml.safe_load(path.read_text())["spec"]
    return Rule(
        spec["minReplicas"],
        spec["maxReplicas"],
        tuple(_target(metric) for metric in spec["metrics"]),
        _behaviour(spec["behavior"]["scaleUp"]),
        _behaviour(spec["behavior"]["scaleDown"]),
    )


def _target(metric: dict[str, Any]) -> tuple[str, float]:
    if metric["type"] == "Resource":
        return metric["resource"]["name"], metric["resource"]["target"]["averageUtilization"] / 100
    if metric["type"] == "External":
        return metric["external"]["metric"]["name"], quantity(metric["external"]["target"]["value"])
    return metric["pods"]["metric"]["name"], quantity(metric["pods"]["target"]["averageValue"])


def quantity(text: str) -> float:
    """A Kubernetes quantity: a number, or thousandths of one with an ``m``."""
    return float(text[:-1]) / 1_000 if text.endswith("m") else float(text)


def _behaviour(given: dict[str, Any]) -> Behaviour:
    return Behaviour(
        given["stabilizationWindowSeconds"],
        tuple(Policy(each["type"], each["value"], each["periodSeconds"]) for each in given["policies"]),
    )
