"""The evaluation from data to figures: tune the baselines on the validation weeks, then judge all on the test weeks.

Every part is a unit of the checkpoints: the tuning and the leak check of a baseline, and a method's lists of one week
in one setting. What a unit depends on stands beside it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, Self

import numpy as np

from ensemble.data.dataset import Dataset, Progress
from ensemble.evaluation import split
from ensemble.evaluation.baselines import tuned as baselines
from ensemble.evaluation.checkpoints import Checkpoints, Kept, Record
from ensemble.evaluation.experiment import FULL_CATALOGUE, WHOLE_SHOP, Experiment, Outcome, Setting, sampled
from ensemble.evaluation.history import Past
from ensemble.evaluation.judged_week import Arrays, JudgedWeek
from ensemble.evaluation.leakage import check_no_lookahead
from ensemble.evaluation.recommender import Recommender
from ensemble.evaluation.scoring import OpenScorer, Scorer
from ensemble.evaluation.served import EnsembleAsServed, EnsembleByScore
from ensemble.evaluation.truth import Truth, merchandise_of
from ensemble.evaluation.tuning import Tuned

ENSEMBLE: Final = "ensemble"
"""Its name in tables."""
FOR_ALL: Final = (FULL_CATALOGUE, f"pool: {WHOLE_SHOP}")
"""Candidates that all methods are judged on."""
STRONGEST: Final = 3
"""How many baselines, the best on the validation weeks, are judged in the departments' pools: more would say little and
take long."""
TUNING, LEAKS, WEEKS = "tuning the baselines", "checking for leaks", "judged weeks"
"""Stages, as the record names them."""


@dataclass(frozen=True, slots=True)
class Ensemble:
    """The release that is judged."""

    name: str
    """For people: which one, and how it is asked."""
    open_scorer: OpenScorer
    """Serves it as of a week."""
    identity: Record
    """What its answers depend on beside data and code, such as its weights. JSON-ready."""


class Comparison:
    """The baselines and the release on the same questions: each part by itself, or all of it.

    Args:
        dataset: all purchases; every use of them goes through ``past_of`` or ``truth_of``.
        ensemble: the release; None judges the baselines alone.
        progress: told the stage and its fraction.
        checkpoints: keep what is finished. Their fingerprint must stand for the data and the code.
        weeks: to be judged: test weeks, or validation weeks during development.
        customers: judge only the first so many of a fixed random order of all customers; None = all.
    """

    def __init__(
        self,
        dataset: Dataset,
        ensemble: Ensemble | None,
        progress: Progress,
        checkpoints: Checkpoints,
        weeks: Sequence[int] = split.TEST_WEEKS,
        customers: int | None = None,
    ) -> None:
        self._dataset, self._ensemble, self._progress, self._checkpoints = dataset, ensemble, progress, checkpoints
        self._weeks, self._customers = tuple(weeks), customers
        self._merchandise = merchandise_of(dataset.products)
        self._judged = sampled(dataset, customers)
        self._validation: list[tuple[Past, Truth]] = []
        self._methods: dict[str, Recommender] = {}
        self._learnt = checkpoints.folder("learnt")
        self._seconds: dict[str, dict[str, float]] = {TUNING: {}, LEAKS: {}, WEEKS: {}}

    def tune(self, name: str) -> Tuned:
        """The best settings of a baseline on the validation weeks.

        Raises:
            RacksortError: a package that a baseline needs isn't installed.
        """

        def made() -> Kept:
            if not self._validation:
                self._validation.extend(baselines.validation_weeks(self._dataset, self._merchandise, self._progress))
            best = baselines.tune(name, self._validation, self._progress, self._learnt)
            return Kept({"settings": _written(best), "score": best.score, "tried": best.tried})

        kept = self._kept(TUNING, f"tuning {name}", {"weeks": split.VALIDATION_WEEKS}, made)
        self._progress(f"Tuning {name}", 1.0)
        return Tuned(baselines.restored(name, kept.facts["settings"]), kept.facts["score"], kept.facts["tried"])

    @cached_property
    def tuned(self) -> dict[str, Tuned]:
        """All baselines with their best settings; raises as ``tune``."""
        return {name: self.tune(name) for name in baselines.names()}

    def check_for_leaks(self, name: str) -> None:
        """See that the future doesn't change what a tuned baseline says.

        Raises:
            RacksortError: it does.
        """

        def made() -> Kept:
            method = self._method(name)
            check_no_lookahead(lambda _dataset: method, self._dataset, self._weeks[0], self._judged, self._merchandise)
            return Kept({})

        inputs = {"settings": _written(self.tuned[name]), "week": self._weeks[0], "customers": self._customers}
        self._kept(LEAKS, f"leaks {name}", inputs, made)

    def judge(self, week: int) -> list[tuple[str, Arrays, dict[str, Arrays]]]:
        """What a week's lists were worth: each setting, who was asked for what in it, and every method's metrics.

        Raises:
            RacksortError: the release can't be built or served.
        """
        asked = JudgedWeek(self._dataset, week, self._merchandise, self._judged)
        of = {"customers": self._customers}
        unit = f"week {week} questions"
        questions = _unpacked(self._kept(WEEKS, unit, of, lambda: _packed(asked.questions())))
        methods = {name: self._method(name) for name in self.tuned}
        result = []
        with _Methods(self._ensemble, methods, asked, self._progress) as named:
            for index, (setting, question) in enumerate(questions.items()):
                outcomes = {}
                for name, identity in self._identities(setting).items():

                    def made(name: str = name, setting: str = setting) -> Kept:
                        return Kept({}, asked.outcome(setting, named.method(name, setting)))

                    unit = f"week {week} {setting} {name}"
                    outcomes[name] = self._kept(WEEKS, unit, of | {"method": identity}, made).arrays
                named.done(0.5 + 0.5 * (index + 1) / len(questions))
                result.append((setting, question, outcomes))
        return result

    def result(self) -> Experiment:
        """Tune, check for leaks and judge; what is kept of it is taken as it is.

        Raises:
            RacksortError: a baseline looks ahead, or the release can't be built or served.
        """
        for index, name in enumerate(self.tuned):
            self.check_for_leaks(name)
            self._progress("Checking for leaks", (index + 1) / len(self.tuned))
        collected: dict[str, _Collected] = defaultdict(_Collected)
        for week in self._weeks:
            for setting, question, outcomes in self.judge(week):
                collected[setting].weeks.append((week, question, outcomes))
        settings = tuple(part.setting(name) for name, part in collected.items())
        seconds = {stage: sum(units.values()) for stage, units in self._seconds.items()}
        return Experiment(settings, self.tuned, self._weeks, seconds)

    def _method(self, name: str) -> Recommender:
        """A baseline, the same for all weeks: one of them learns once for all, in minutes."""
        if name not in self._methods:
            self._methods[name] = baselines.make(name, self.tuned[name].settings, self._learnt)
        return self._methods[name]

    def _identities(self, setting: str) -> dict[str, Record]:
        """What the lists of a setting's methods depend on, by method."""
        of: dict[str, Record] = {} if self._ensemble is None else {ENSEMBLE: self._ensemble.identity}
        of |= {name: {"settings": _written(result)} for name, result in self.tuned.items()}
        if setting in FOR_ALL:
            return of
        strongest = sorted(self.tuned, key=lambda name: -self.tuned[name].score)[:STRONGEST]
        return {name: identity for name, identity in of.items() if name == ENSEMBLE or name in strongest}

    def _kept(self, stage: str, unit: str, inputs: Record, make: Callable[[], Kept]) -> Kept:
        kept = self._checkpoints.unit(unit, inputs, make)
        self._seconds[stage][unit] = kept.seconds
        return kept


def _written(tuned: Tuned) -> dict[str, str]:
    """Settings as a checkpoint holds them: JSON has no names of enumerations and no infinity."""
    return {key: str(value) for key, value in tuned.settings.items()}


class _Methods:
    """The methods of one week by name; the ensemble is built and served once it is asked for, until the week ends."""

    def __init__(
        self, ensemble: Ensemble | None, methods: dict[str, Recommender], asked: JudgedWeek, progress: Progress
    ) -> None:
        self._ensemble, self._methods, self._asked, self._progress = ensemble, methods, asked, progress
        self._scorer: Scorer | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._stack.close()

    def method(self, name: str, setting: str) -> Recommender:
        """A baseline, or the ensemble as it answers in a setting: merged by score, or one row in served order."""
        if name != ENSEMBLE or self._ensemble is None:
            return self._methods[name]
        if self._scorer is None:
            self._scorer = self._stack.enter_context(self._ensemble.open_scorer(self._asked.past))
        if setting == FULL_CATALOGUE:
            return EnsembleByScore(self._scorer, lambda done: self.done(done / 2))
        return EnsembleAsServed(self._scorer)

    def done(self, fraction: float) -> None:
        """Report the week's fraction."""
        self._progress(f"Week {self._asked.week}", fraction)


def _packed(questions: dict[str, Arrays]) -> Kept:
    arrays = {
        f"{index}/{field}": array
        for index, question in enumerate(questions.values())
        for field, array in question.items()
    }
    return Kept({"settings": list(questions)}, arrays)


def _unpacked(kept: Kept) -> dict[str, Arrays]:
    fields = sorted({name.partition("/")[2] for name in kept.arrays})
    return {
        setting: {field: kept.arrays[f"{index}/{field}"] for field in fields}
        for index, setting in enumerate(kept.facts["settings"])
    }


@dataclass(slots=True)
class _Collected:
    """The parts of one setting: the week, who was asked for what, and what each method's lists were worth."""

    weeks: list[tuple[int, Arrays, dict[str, Arrays]]] = field(default_factory=list)

    def setting(self, name: str) -> Setting:
        """All weeks together."""
        questions = [question for _, question, _ in self.weeks]
        return Setting(
            name=name,
            customer_id=np.concatenate([question["customer_id"] for question in questions]),
            week=np.concatenate([np.full(len(question["customer_id"]), week) for week, question, _ in self.weeks]),
            known=np.concatenate([question["known"] for question in questions]),
            bought=np.concatenate([question["bought"] for question in questions]),
            candidates=max(len(question["candidates"]) for question in questions),
            catalogue=len(np.unique(np.concatenate([question["candidates"] for question in questions]))),
            outcomes={
                method: _outcome([outcomes[method] for _, _, outcomes in self.weeks]) for method in self.weeks[0][2]
            },
        )


def _outcome(parts: list[Arrays]) -> Outcome:
    named = len(np.unique(np.concatenate([part["named"] for part in parts])))
    values = {key: np.concatenate([part[key] for part in parts]) for key in parts[0] if key != "named"}
    return Outcome(values, named)
