"""The ML engineer's path on a sample: train, export, parity, and real answers from the release that came out."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ensemble import contract
from ensemble.data.dataset import load
from ensemble.releases.layout import numbers_in, release_in
from ensemble.training.train import sample_customers
from tests.conftest import REPOSITORY
from tests.e2e.test_serve import free_port, get, products, serving
from tests.pace import UNHURRIED_VARIABLES

RELEASE = 2
"""Not 1, so that a pin on the wrong version would show."""

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    repository = tmp_path_factory.mktemp("trained") / "model_repository"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "racksort", "train", "--sample", "0.05"),
            *("--repository", str(repository), "--release", str(RELEASE)),
        ],
        capture_output=True,
        text=True,
        timeout=1000,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return repository


def test_the_release_is_whole_self_contained_and_on_par(trained: Path) -> None:
    for model in contract.ONNX_MODELS:
        assert [path.name for path in (trained / model.name / str(RELEASE)).iterdir()] == [
            "model.onnx"
        ]  # no external data
        assert (trained / model.name / "config.pbtxt").exists()
    assert {path.name for path in (trained / "ranking" / str(RELEASE)).iterdir()} == {
        "model.py",
        "ranking.py",
        "settings.json",
    }
    summary = json.loads((trained / contract.ensemble_name(RELEASE) / "1" / "training.json").read_text())
    assert summary["parity"], "parity wasn't measured"
    assert max(summary["parity"].values()) <= 1e-4


def test_its_check_explains_what_differs_from_the_committed_release(trained: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "racksort", "release", "check", str(trained), "--json"),
            *("--live", "1", "--slower", "900", "--html", str(tmp_path / "page.html")),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    report = json.loads(done.stdout)
    # A twentieth of the customers is too few: exactly that is what it is refused for.
    assert done.returncode == 2, done.stderr
    assert {finding["check"] for finding in report["findings"] if finding["severity"] != "warning"} == {"quality"}
    data = {section["name"]: section["data"] for section in report["sections"]}
    assert max(data["golden"]["apart"].values()) <= 1e-4
    assert 0 < data["live"]["overlap@10"] < 1
    assert data["live"]["moved_most"] in contract.COMPONENTS
    assert data["quality"]["pools"]["pool: whole shop"]["relative"]["high"] < 0
    assert len(data["latency"]["cells"]) == 10


def test_it_serves_personal_answers(trained: Path, catalog_dir: Path) -> None:
    options = [
        "--port",
        str(free_port()),
        "--catalog",
        str(catalog_dir),
        "--repository",
        str(trained),
        "--release",
        str(RELEASE),
    ]
    with serving(*options, environment=UNHURRIED_VARIABLES) as (_, curl):
        body = get(curl)[2]
        assert (body["source"], body["release"]) == ("ensemble", contract.ensemble_name(RELEASE))
        base = curl.split("/v1/")[0]
        sampled = sample_customers(load(), 0.05, seed=1).purchases["customer_id"].unique().sort().to_list()
        pages = [products(base, "popular", customer, limit=100)["product_ids"] for customer in sampled[:10]]
        assert len({tuple(page) for page in pages}) > 1


def test_it_goes_from_training_into_traffic_and_back(trained: Path, catalog_dir: Path, tmp_path: Path) -> None:
    """What docs/releases.md tells: train, check, publish, canary, promote, rollback."""
    repository = tmp_path / "models"
    repository.mkdir()

    def release(*arguments: object, status: int = 0) -> str:
        command = [sys.executable, "-m", "racksort", "release", *map(str, arguments), "--repository", str(repository)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == status, done.stderr
        return done.stderr

    release("publish", REPOSITORY, "--unchecked")
    refused = release("publish", trained, "--skip", "latency,memory", status=2)
    assert "quality" in refused  # a twentieth of the customers is too few
    assert numbers_in(repository) == [1]
    release("publish", trained, "--skip", "latency,memory,quality")
    card = (release_in(repository, RELEASE).extras_dir / "model-card.md").read_text()
    assert "quality" in card  # it says what wasn't checked
    options = ["--port", str(free_port()), "--catalog", str(catalog_dir), "--repository", str(repository)]
    with serving(*options, environment=UNHURRIED_VARIABLES) as (process, curl):
        drained = threading.Thread(target=process.stderr.read if process.stderr else print, daemon=True)
        drained.start()  # what it says later must not fill the pipe
        base = curl.split("/v1/")[0]

        def releases(customers: range) -> dict[int, str]:
            return {each: products(base, "popular", each)["release"] for each in customers}

        release("canary", RELEASE, "--percent", 40, "--url", base)
        first = releases(range(1, 60))
        assert set(first.values()) == {contract.ensemble_name(1), contract.ensemble_name(RELEASE)}
        assert releases(range(1, 60)) == first  # nobody is moved
        release("promote", RELEASE, "--url", base)
        assert set(releases(range(1, 20)).values()) == {contract.ensemble_name(RELEASE)}
        release("rollback", "--url", base)
        assert set(releases(range(1, 20)).values()) == {contract.ensemble_name(1)}
