"""Runs the studies, each kept by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from ensemble.errors import RacksortError
from ensemble.evaluation.checkpoints import Checkpoints, Kept, Record
from ensemble.evaluation.experiment import Experiment
from ensemble.evaluation.study import RunStudy, Scene, Study

Complete = Callable[[Study, Experiment], Study]
"""Adds to a study what only the finished comparison can tell."""
NOTHING: Final[Mapping[str, Complete]] = {}


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


def kept(scene: Scene, key: str, run_study: RunStudy, checkpoints: Checkpoints, inputs: Record) -> Kept:
    """A study's result as a JSON object, made or as an earlier run has left it.

    Args:
        scene: what it is run on.
        key: its name.
        run_study: runs it.
        checkpoints: keep what is finished.
        inputs: what the scene depends on beside the checkpoints' fingerprint. JSON-ready.
    """

    def made() -> Kept:
        study = run_study(scene)
        return Kept(study.to_json(), dict(study.values))

    return checkpoints.unit(f"study {key}", inputs, made)


def added(experiment: Experiment, results: Sequence[Kept], completing: Mapping[str, Complete] = NOTHING) -> Experiment:
    """The experiment with the results of studies, and the time that they took when they were made.

    Args:
        experiment: the comparison.
        results: what ``kept`` gave.
        completing: by the study's key, for studies that need the comparison. They don't wait for it: what they found
            themselves is kept, and this is added each time.
    """
    seconds = sum(result.seconds for result in results)
    studies = []
    for result in results:
        study = replace(Study.from_json(result.facts), values=result.arrays)
        studies.append(completing[study.key](study, experiment) if study.key in completing else study)
    return replace(experiment, studies=tuple(studies), seconds=experiment.seconds | {"studies": seconds})
