"""One table of the models' outputs for all studies of a run."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import numpy as np

from ensemble.evaluation.history import Past, past_of
from ensemble.evaluation.model_outputs import Models
from ensemble.evaluation.studies.choosing import to_choose_on
from ensemble.evaluation.studies.collecting import collect
from ensemble.evaluation.studies.outputs import WeekOutputs
from ensemble.evaluation.study import Scene
from ensemble.evaluation.truth import truth_of

OpenModels = Callable[[Past], AbstractContextManager[Models]]
"""Makes the release's tables as of the start of the week, and lets its models be asked until the context is left."""


class Outputs:
    """The outputs of a scene's weeks, each made when it is first asked for."""

    def __init__(self, scene: Scene, open_models: OpenModels) -> None:
        self._scene, self._open = scene, open_models
        self._weeks: dict[int, WeekOutputs] = {}

    def week(self, week: int) -> WeekOutputs:
        """The outputs of a test week, or of a week to choose settings on.

        Raises:
            RacksortError: the release can't be built for the week.
        """
        if week not in self._weeks:
            scene = self._scene
            past = past_of(scene.dataset, week, scene.merchandise)
            truth = truth_of(scene.dataset, week, scene.merchandise).of(scene.customers)
            with self._open(past) as models:
                if week not in scene.weeks:
                    self._weeks[week] = to_choose_on(models, past, truth)
                else:
                    self._weeks[week] = collect(
                        models,
                        past,
                        truth,
                        scene.customers,
                        scene.trained.settings,
                        lambda fraction: scene.progress(f"What the models say, week {week}", fraction),
                    )
        return self._weeks[week]


_kept: list[tuple[Scene, Outputs]] = []


def outputs_of(scene: Scene) -> Outputs:
    """The outputs of ``scene``: the same object for the same data, customers, weeks and weights.

    Only those of the last scene are kept.
    """
    # torch, which puts the tables around the weights, takes seconds to import.
    from ensemble.evaluation.releases import open_models  # noqa: PLC0415

    if not _kept or not _same(_kept[0][0], scene):
        _kept[:] = [(scene, Outputs(scene, lambda past: open_models(scene.trained, past, scene.builds)))]
    return _kept[0][1]


def _same(one: Scene, other: Scene) -> bool:
    return (
        one.dataset is other.dataset
        and one.trained is other.trained
        and np.array_equal(one.merchandise, other.merchandise)
        and np.array_equal(one.customers, other.customers)
        and one.weeks == other.weeks
    )
