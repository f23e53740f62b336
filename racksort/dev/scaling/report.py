"""What ``racksort dev scaling`` finds: the manifests' rules, others beside them, and perhaps better ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from racksort.dev.scaling import table
from racksort.dev.scaling.cluster import Cluster
from racksort.dev.scaling.outcome import Outcome, judged
from racksort.dev.scaling.rule import Rules, read
from racksort.dev.scaling.search import CHOSEN, Choice, descend, described, rivals, without_alarms
from racksort.dev.scaling.service import GRIDS, Costs
from racksort.dev.scaling.workload import Workload
from racksort.progress import Report

_MANIFESTS = "the manifests"
_OTHERS = (1.0, 0.85, 0.7, 0.6, 0.5)
"""What Tritons may get out of their cores instead; alarms matter most with the last."""


@dataclass(frozen=True, slots=True)
class Found:
    """Outcomes by the rules' names, and the search's choice where there was one."""

    outcomes: Mapping[str, Outcome]
    chosen: Choice | None

    @property
    def good(self) -> bool:
        """Whether the manifests hold, and nothing better was found."""
        return self.outcomes[_MANIFESTS].holds and self.chosen in {None, CHOSEN}

    def text(self) -> str:
        """For people."""
        lines = [table.markdown(self.outcomes)]
        if self.chosen is not None:
            lines.append("chosen: " + ", ".join(f"{name} {value:g}" for name, value in described(self.chosen).items()))
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "rules": {name: table.as_json(each) for name, each in self.outcomes.items()},
            "chosen": None if self.chosen is None else described(self.chosen),
        }


def _sensitivity(rules: Rules) -> Iterator[tuple[str, Outcome]]:
    """What becomes of the rules where the world isn't what was reckoned with."""
    for used in _OTHERS:
        able = (replace(each, used=used).capacity for each in (Costs(), GRIDS))
        name = "Tritons that can do {:,.0f} of the mix and {:,.0f} grids".format(*able)
        yield name, judged(rules, used=used)
    yield f"without alarms, {name}", judged(without_alarms(CHOSEN), used=_OTHERS[-1])
    yield "without alarms", judged(without_alarms(CHOSEN))
    yield "no precompute job", judged(rules, workload=Workload(precompute_rows=0.0))


def run(folder: Path, *, search: bool, plot: Path | None, tell: Report) -> Found:
    """Simulate.

    Args:
        folder: with the autoscalers' manifests.
        search: whether to look for better figures from the manifests' on.
        plot: file for a picture of the first day.
        tell: gets the progress.

    Raises:
        RacksortError: a manifest is missing.
    """
    rules = {_MANIFESTS: read(folder)} | rivals(CHOSEN)
    outcomes = {}
    for number, (name, each) in enumerate(rules.items(), 1):
        outcomes[name] = judged(each)
        tell("simulating rules", number / len(rules))
    outcomes |= {f"{_MANIFESTS}, {name}": found for name, found in _sensitivity(rules[_MANIFESTS])}
    if plot is not None:
        from racksort.dev.scaling.plot import draw  # noqa: PLC0415 - matplotlib is only there for development

        draw(Cluster(rules[_MANIFESTS], Workload()).run(), Workload(), plot)
    return Found(outcomes, descend(CHOSEN, tell) if search else None)
