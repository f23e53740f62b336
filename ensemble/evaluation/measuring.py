"""The evaluation from data to figures: tune the baselines on the validation weeks, then judge all on the test weeks.

Every part is a unit of the checkpoints: the tuning and the leak check of a baseline, and a method's lists of one week
in one setting. What a unit depends on stands beside it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Final, Self

import numpy as np
import numpy.typing as npt

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


def run(
    dataset: Dataset,
    ensemble: Ensemble | None,
    progress: Progress,
    checkpoints: Checkpoints,
    weeks: Sequence[int] = split.TEST_WEEKS,
    customers: int | None = None,
) -> Experiment:
    """Tune, check for leaks and judge.

    Args:
        dataset: all purchases; every use of them goes through ``past_of`` or ``truth_of``.
        ensemble: the release; None judges the baselines alone.
        progress: told the stage and its fraction.
        checkpoints: keep what is finished. Their fingerprint must stand for the data and the code.
        weeks: to be judged: test weeks, or validation weeks during development.
        customers: judge only the first so many of a fixed random order of all customers; None = all.

    Raises:
        RacksortError: a baseline looks ahead, or the release can't be built or served.
    """
    merchandise = merchandise_of(dataset.products)
    judged = sampled(dataset, customers)
    seconds: dict[str, float] = defaultdict(float)
    tuned = _tuned(dataset, merchandise, progress, checkpoints, seconds)
    methods = {name: baselines.make(name, result.settings) for name, result in tuned.items()}
    for index, (name, method) in enumerate(methods.items()):

        def leaks(method: Recommender = method) -> Kept:
            check_no_lookahead(lambda _dataset: method, dataset, weeks[0], judged, merchandise)
            return Kept({})

        inputs = {"settings": _written(tuned[name]), "week": weeks[0], "customers": customers}
        seconds[LEAKS] += checkpoints.unit(f"leaks {name}", inputs, leaks).seconds
        progress("Checking for leaks", (index + 1) / len(methods))

    collected: dict[str, _Collected] = defaultdict(_Collected)
    identities: dict[str, Record] = {name: {"settings": _written(result)} for name, result in tuned.items()}
    if ensemble is not None:
        identities = {ENSEMBLE: ensemble.identity} | identities
    strongest = sorted(tuned, key=lambda name: -tuned[name].score)[:STRONGEST]
    in_departments = {name: of for name, of in identities.items() if name == ENSEMBLE or name in strongest}
    for week in weeks:
        asked = JudgedWeek(dataset, week, merchandise, judged)
        with _Methods(ensemble, methods, asked, progress) as named:
            _judge(asked, named, (identities, in_departments), customers, checkpoints, collected, seconds)
    settings = tuple(part.setting(name) for name, part in collected.items())
    return Experiment(settings, tuned, tuple(weeks), dict(seconds))


def _written(tuned: Tuned) -> dict[str, str]:
    """Settings as a checkpoint holds them: JSON has no names of enumerations and no infinity."""
    return {key: str(value) for key, value in tuned.settings.items()}


def _tuned(
    dataset: Dataset,
    merchandise: npt.NDArray[np.int64],
    progress: Progress,
    checkpoints: Checkpoints,
    seconds: dict[str, float],
) -> dict[str, Tuned]:
    """The best settings of every baseline."""
    weeks: list[tuple[Past, Truth]] = []
    result = {}
    for name in baselines.names():

        def made(name: str = name) -> Kept:
            if not weeks:
                weeks.extend(baselines.validation_weeks(dataset, merchandise, progress))
            best = baselines.tune(name, weeks, progress)
            return Kept({"settings": _written(best), "score": best.score, "tried": best.tried})

        kept = checkpoints.unit(f"tuning {name}", {"weeks": split.VALIDATION_WEEKS}, made)
        seconds[TUNING] += kept.seconds
        settings = baselines.restored(name, kept.facts["settings"])
        result[name] = Tuned(settings, kept.facts["score"], kept.facts["tried"])
        progress(f"Tuning {name}", 1.0)
    return result


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


def _judge(
    asked: JudgedWeek,
    methods: _Methods,
    identities: tuple[dict[str, Record], dict[str, Record]],
    customers: int | None,
    checkpoints: Checkpoints,
    collected: dict[str, _Collected],
    seconds: dict[str, float],
) -> None:
    """Ask the methods for the week's customers in every setting and judge the lists.

    ``identities`` says by method what its lists depend on: of all methods, and of those for departments.
    """
    of = {"customers": customers}
    kept = checkpoints.unit(f"week {asked.week} questions", of, lambda: _packed(asked.questions()))
    seconds[WEEKS] += kept.seconds
    questions = _unpacked(kept)
    for index, (setting, question) in enumerate(questions.items()):
        outcomes = {}
        for name, identity in identities[setting not in FOR_ALL].items():

            def made(name: str = name, setting: str = setting) -> Kept:
                return Kept({}, asked.outcome(setting, methods.method(name, setting)))

            unit = f"week {asked.week} {setting} {name}"
            kept = checkpoints.unit(unit, of | {"method": identity}, made)
            seconds[WEEKS] += kept.seconds
            outcomes[name] = kept.arrays
        methods.done(0.5 + 0.5 * (index + 1) / len(questions))
        collected[setting].weeks.append((asked.week, question, outcomes))


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
