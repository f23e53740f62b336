"""The verb on a whole release of the synthetic shop: what is kept belongs to the files that were judged."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from ensemble import configs, contract
from ensemble.data import dataset
from ensemble.data.dataset import DEFAULT_WEEK, Dataset
from ensemble.errors import RacksortError
from ensemble.evaluation import releases, split
from ensemble.evaluation.baselines import tuned
from ensemble.evaluation.direct_scorer import DirectScorer
from ensemble.evaluation.history import Past
from ensemble.release import build_release
from ensemble.releases.check.digest import digest_of
from ensemble.releases.layout import release_in
from ensemble.training.weights import Trained
from racksort.cli import app
from tests.unit.evaluation.shops import VALIDATION_WEEKS, WEEKS

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def built(shop: Dataset, tiny: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the release, made of its weights."""
    repository = tmp_path_factory.mktemp("built")
    build_release(shop, DEFAULT_WEEK, tiny, repository)
    configs.write(repository, configs.generate(1))
    return repository


@pytest.fixture
def committed(built: Path, tmp_path: Path) -> Path:
    """The same release as it lies in the repository that is judged, for a test to change."""
    return shutil.copytree(built, tmp_path / "models")


@pytest.fixture
def evaluate(
    shop: Dataset, built: Path, committed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], Result]:
    """The command on the shop, without a server."""

    @contextmanager
    def refreshed(_trained: Trained, _past: Past, _builds: Path | None = None) -> Iterator[tuple[Path, DirectScorer]]:
        # Of one week for all, since an export takes many seconds.
        yield built, DirectScorer(built, 1)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(releases, "_refreshed", refreshed)
    monkeypatch.setattr(dataset, "load", lambda progress: progress("anything", 1.0) or shop)
    monkeypatch.setattr(split, "VALIDATION_WEEKS", VALIDATION_WEEKS)
    monkeypatch.setattr(split, "TEST_WEEKS", WEEKS)
    monkeypatch.setattr(tuned, "GRIDS", {"popularity": {}})
    fixed = ("evaluate", "--direct", "--no-studies", "--json", "--weeks", "10", "--processes", "1")
    return lambda: CliRunner().invoke(app, (*fixed, "--repository", str(committed)))


def change(repository: Path, **settings: float) -> None:
    """Other settings of the ranking, beside the same weights."""
    path = repository / contract.RANKING.name / "1" / "settings.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def kept() -> int:
    return len(list(Path("var/evaluate").rglob("*.npz")))


def test_models_that_are_not_of_the_weights_are_refused_even_where_all_weeks_are_kept(
    evaluate: Callable[[], Result], committed: Path
) -> None:
    first = evaluate()
    assert first.exit_code == 0, first.output
    assert json.loads(first.stdout)["release"] == "personalize_v1 by onnxruntime"
    number = kept()
    again = evaluate()
    one, other = (json.loads(answer.stdout) for answer in (first, again))
    runs = [record.pop("run") for record in (one, other)]
    assert one == other
    assert [(run["made"], run["recalled"]) for run in runs] == [(number, 0), (0, number)]
    assert {run["release"] for run in runs} == {digest_of(release_in(committed, 1))}
    assert f"{number} parts were there from an earlier run" in again.stderr
    change(committed, preference=0.1)
    refused = evaluate()
    assert isinstance(refused.exception, RacksortError)
    assert "apart from the weights to be judged" in str(refused.exception)
    assert kept() == number


def test_a_release_with_other_files_is_judged_anew(evaluate: Callable[[], Result], committed: Path) -> None:
    assert evaluate().exit_code == 0
    number = kept()
    # Scores are before the list's rules, so that they stay the same.
    change(committed, category_discount=0.5)
    again = evaluate()
    assert again.exit_code == 0, again.output
    found = int(again.stderr.split(" parts were there")[0].split()[-1])
    assert 0 < found < number
    assert kept() == number + (number - found)
