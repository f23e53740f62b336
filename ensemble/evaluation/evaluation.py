"""One run of the evaluation: what is asked, the parts of the answer, which any process can make, and all of it."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from ensemble import contract
from ensemble.data import dataset as data
from ensemble.data.dataset import Progress
from ensemble.errors import RacksortError
from ensemble.evaluation import fingerprints, side_by_side, studied
from ensemble.evaluation.baselines import tuned as baselines
from ensemble.evaluation.checkpoints import Checkpoints, Kept, Record
from ensemble.evaluation.experiment import Experiment, sampled
from ensemble.evaluation.history import past_of
from ensemble.evaluation.measuring import Comparison, Ensemble
from ensemble.evaluation.run_account import RunAccount
from ensemble.evaluation.side_by_side import Notice, Part
from ensemble.evaluation.study import Scene
from ensemble.evaluation.truth import merchandise_of

if TYPE_CHECKING:
    # torch, which takes seconds to import and isn't needed for the baselines.
    from ensemble.training.weights import Trained


class Kind(StrEnum):
    """Of parts."""

    RELEASE = "release"
    """Whether the models are those of the weights."""
    STUDIES = "studies"
    TUNING = "tuning"
    """Of baselines, by name."""
    LEAKS = "leaks"
    """The baselines' checks for them."""
    WEEK = "week"
    """The judgement of a week."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a run is asked for."""

    repository: Path
    release: int | None
    """Number of the release to judge; None: the baselines alone, and no studies."""
    direct: bool
    """Ask ONNX Runtime rather than a Triton server."""
    weeks: tuple[int, ...]
    """To be judged."""
    customers: int | None
    """Judge a sample of so many customers; None: all."""
    studies: tuple[str, ...]
    """Keys of the studies beside the comparison."""
    kept: Path
    """Folder of the parts that are made."""


@dataclass(frozen=True, slots=True)
class Judged:
    """The release."""

    trained: Trained
    name: str
    """For people: which one, and how it is asked."""
    identity: Record
    """What its answers depend on beside data and code. JSON-ready."""

    def ensemble(self, builds: Path) -> Ensemble:
        """The release with a folder for what is built of it."""
        from ensemble.evaluation.releases import Way, open_scorer  # noqa: PLC0415  # torch: see above

        return Ensemble(self.name, open_scorer(self.trained, Way(self.identity["way"]), builds), self.identity)


def opened(asked: Asked) -> Judged | None:
    """The release to judge; None where there is none.

    Raises:
        RacksortError: it isn't there, or what serves it isn't installed.
    """
    if asked.release is None:
        return None
    try:
        from ensemble.evaluation.releases import Way  # noqa: PLC0415  # torch: see above
        from ensemble.release import weights_path  # noqa: PLC0415  # the same
        from ensemble.training.weights import Trained  # noqa: PLC0415  # the same
    except ModuleNotFoundError as error:
        raise RacksortError(
            f"judging a release needs {error.name}: install racksort[train], or use --baselines-only"
        ) from error
    from ensemble.releases.check.digest import digest_of  # noqa: PLC0415  # with what releases are signed by
    from ensemble.releases.layout import release_in  # noqa: PLC0415  # the same

    way = Way.ONNXRUNTIME if asked.direct else Way.TRITON
    trained = Trained.load(weights_path(asked.repository, asked.release))
    identity = {"release": digest_of(release_in(asked.repository, asked.release)), "way": way.value}
    return Judged(trained, f"{contract.ensemble_name(asked.release)} by {way.value}", identity)


class Evaluation:
    """A run.

    Args:
        asked: for what.
        judged: what ``opened`` gave for it.
        progress: told the stage and its fraction.
        notice: told what a person should know.
        fresh: forget what earlier runs have left.
        fingerprint: what all parts depend on, where the caller knows it.

    Raises:
        RacksortError: there is no data, or no room for what is made.
    """

    def __init__(
        self,
        asked: Asked,
        judged: Judged | None,
        progress: Progress,
        notice: Notice,
        *,
        fresh: bool = False,
        fingerprint: Record | None = None,
    ) -> None:
        self._asked, self._judged, self._progress, self._notice = asked, judged, progress, notice
        self._made_elsewhere, self._processes = 0, 1
        self.dataset = data.load(progress=lambda _stage, fraction: progress("Data", fraction))
        self._fingerprint = fingerprint or {
            "data": fingerprints.of_data(self.dataset),
            "code": fingerprints.of_code(),
            "packages": fingerprints.of_packages(),
        }
        self.checkpoints = Checkpoints(asked.kept, self._fingerprint, time.monotonic, notice, fresh=fresh)
        ensemble, self._builds = None, None
        if judged is not None:
            self._builds = self.checkpoints.folder(f"built-{judged.identity['release']}")
            ensemble = judged.ensemble(self._builds)
        self._comparison = Comparison(self.dataset, ensemble, progress, self.checkpoints, asked.weeks, asked.customers)

    def parts(self) -> list[Part]:
        """All parts, what takes longest and waits for nothing first."""
        together: tuple[str, ...] = ()
        if self._asked.studies:
            from ensemble.evaluation import studies  # noqa: PLC0415  # torch: see above

            together = tuple(key for key in self._asked.studies if key in studies.OF_THE_SAME_OUTPUTS)
        names = baselines.names()
        return [
            *([Part(Kind.RELEASE)] if self._judged is not None else []),
            *([Part(Kind.STUDIES, together)] if together else []),
            *(Part(Kind.TUNING, (name,)) for name in reversed(names)),
            *(Part(Kind.STUDIES, (key,)) for key in self._asked.studies if key not in together),
            *(Part(Kind.WEEK, (str(week),), after=Kind.TUNING) for week in self._asked.weeks),
            *(Part(Kind.LEAKS, (name,), after=Kind.TUNING) for name in names),
        ]

    def make(self, part: Part) -> int:
        """Leave the part's results in the checkpoints, and say how many units had to be made.

        Raises:
            RacksortError: it can't be made.
        """
        before = self.checkpoints.made
        if part.kind == Kind.RELEASE:
            self._require_same()
        for name in part.names:
            match part.kind:
                case Kind.STUDIES:
                    self._study(name)
                case Kind.TUNING:
                    self._comparison.tune(name)
                case Kind.LEAKS:
                    self._comparison.check_for_leaks(name)
                case Kind.WEEK:
                    self._comparison.judge(int(name))
        return self.checkpoints.made - before

    def make_all(self, processes: int) -> None:
        """Make all parts in so many processes.

        Raises:
            RacksortError: one of them can't be made.
        """
        self._processes = processes
        opening = partial(_elsewhere, self._asked, self._fingerprint)
        self._made_elsewhere += side_by_side.make_all(opening, self.parts(), processes, self._progress, self._notice)

    @property
    def recalled(self) -> int:
        """Parts that an earlier run has left and this one has taken."""
        return self.checkpoints.recalled - self._made_elsewhere

    def account(self, began: float) -> RunAccount:
        """What the run tells of itself, from ``began`` (as of ``time.monotonic``) to now."""
        return RunAccount(
            seconds=time.monotonic() - began,
            processes=self._processes,
            made=self.checkpoints.made + self._made_elsewhere,
            recalled=self.recalled,
            release=None if self._judged is None else self._judged.identity["release"],
            data=self._fingerprint["data"],
            code=self._fingerprint["code"],
        )

    def result(self) -> Experiment:
        """Everything; what is there already is taken as it is, the rest is made in this process.

        Raises:
            RacksortError: a part can't be made.
        """
        self._require_same()
        result = self._comparison.result()
        if self._asked.studies:
            from ensemble.evaluation import studies  # noqa: PLC0415  # torch: see above

            results = [self._study(key) for key in self._asked.studies]
            result = studied.added(result, results, studies.COMPLETING)
        if self._builds is not None:
            shutil.rmtree(self._builds, ignore_errors=True)  # hundreds of MB, for parts that are made
        return result

    def _require_same(self) -> None:
        """See that the weights to be judged are those of the release's models, unless that is kept of these very files.

        Raises:
            RacksortError: the release as of the week that it was built for scores otherwise.
        """
        if self._judged is None or self._asked.release is None:
            return
        from ensemble.evaluation.releases import check_same  # noqa: PLC0415  # torch: see above

        trained, release = self._judged.trained, self._asked.release

        def made() -> Kept:
            past = past_of(self.dataset, data.DEFAULT_WEEK, merchandise_of(self.dataset.products))
            check_same(trained, self._asked.repository, release, past)
            return Kept({})

        inputs = {"method": self._judged.identity}
        self.checkpoints.unit("release and weights are the same", inputs, made)

    def _study(self, key: str) -> Kept:
        from ensemble.evaluation import studies  # noqa: PLC0415  # torch: see above

        asked = self._asked
        inputs: Record = {
            "ensemble": self._release.identity,
            "customers": asked.customers,
            "weeks": asked.weeks,
        }
        return studied.kept(self._scene, key, dict(studies.STUDIES)[key], self.checkpoints, inputs)

    @property
    def _release(self) -> Judged:
        if self._judged is None:
            raise ValueError("without a release there is nothing to study")
        return self._judged

    @cached_property
    def _scene(self) -> Scene:
        return Scene(
            dataset=self.dataset,
            merchandise=merchandise_of(self.dataset.products),
            customers=sampled(self.dataset, self._asked.customers),
            weeks=self._asked.weeks,
            trained=self._release.trained,
            progress=self._progress,
            builds=self._builds,
        )


def _elsewhere(asked: Asked, fingerprint: Record, progress: Progress, notice: Notice) -> Evaluation:
    """The run in another process.

    Raises:
        RacksortError: the code isn't that of the first process any more.
    """
    if fingerprints.of_code() != fingerprint["code"]:
        raise RacksortError("the code was changed after this run had begun: run again")
    return Evaluation(asked, opened(asked), progress, notice, fingerprint=fingerprint)
