"""Runs the studies, each kept by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ensemble.errors import RacksortError
from ensemble.evaluation.checkpoints import Checkpoints, Kept, Record
from ensemble.evaluation.experiment import Experiment
from ensemble.evaluation.study import RunStudy, Scene, Study


def chosen(names: str | None, known: Sequence[tuple[str, RunStudy]]) -> tuple[tuple[str, RunStudy], ...]:
    """The studies of a list of names with commas between them; all ``known`` ones for None.

    Raises:
        RacksortError: there is no such study.
    """
    if names is None:
        return tuple(known)
    wanted = [name for name in (name.strip() for name in names.split(",")) if name]
    keys = [key for key, _ in known]
    for name in wanted:
        if name not in keys:
            raise RacksortError(f"--studies: there is no study {name!r}; there are {', '.join(keys) or 'none'}")
    return tuple(each for each in known if each[0] in wanted)


def added(
    experiment: Experiment,
    scene: Scene,
    studies: Sequence[tuple[str, RunStudy]],
    checkpoints: Checkpoints,
    inputs: Record,
) -> Experiment:
    """The experiment with the results of the studies, in their order, and the time that they took when they were made.

    Args:
        experiment: the comparison.
        scene: what they are run on.
        studies: (key, function) each.
        checkpoints: keep what is finished.
        inputs: what the scene depends on beside the checkpoints' fingerprint. JSON-ready.
    """
    results, seconds = [], 0.0
    for key, run_study in studies:

        def made(run_study: RunStudy = run_study) -> Kept:
            return Kept(run_study(scene).to_json())

        kept = checkpoints.unit(f"study {key}", inputs, made)
        seconds += kept.seconds
        results.append(Study.from_json(kept.facts))
    return replace(experiment, studies=tuple(results), seconds=experiment.seconds | {"studies": seconds})
