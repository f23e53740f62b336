from __future__ import annotations

import json
from pathlib import Path

import pytest

from ensemble import contract
from ensemble.errors import RacksortError
from ensemble.ranking import WEIGHTS, RankingSettings
from ensemble.releases import card
from ensemble.releases.layout import release_in
from ensemble.releases.payload import payload
from tests.conftest import REPOSITORY
from tests.unit.releases.candidates import put, small


def test_the_committed_release_s_card_says_what_one_wants_to_know() -> None:
    release = payload(release_in(REPOSITORY))
    text = card.render(release)
    assert text == card.render(release)
    assert "| tables hold purchases until | 2017-11-13 05:00 UTC |" in text
    assert "| blend chosen on weeks | 41, 43, 45 |" in text
    assert "| measured on weeks | 42, 44, 46 |" in text
    assert "| trained on weeks | 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40 |" in text
    assert "| ranking | ndcg@10 | recall@10 |" in text
    summary = json.loads((REPOSITORY / contract.ensemble_name(1) / "1" / "training.json").read_bytes())
    measured = summary["validation"]["quality"]["list"]
    assert f"| list | {measured['ndcg@10']:.4f} | {measured['recall@10']:.4f} |" in text
    settings = RankingSettings.load(REPOSITORY / contract.RANKING.name / "1" / "settings.json")
    assert settings.tail_slope > 1.0
    assert f"| slope of scores above {settings.tail_from:g} | {settings.tail_slope:.4f} |" in text
    for name in WEIGHTS:
        assert f"| weight of {name} | {getattr(settings, name):.4f} |" in text
    assert f"| bias | {settings.bias:.4f} |" in text
    assert f"| discount for each product of its category ahead | {settings.category_discount:g} |" in text
    assert settings.category_cap == 0
    assert "| products of a category, at most | no cap |" in text
    share = f"{settings.discovery_share:.0%}"
    assert f"| share of products that are new to the customer, at least | {share} |" in text
    assert "Published without a check's report." in text
    for model in contract.MODELS:
        assert f"| {model.name} | 1 | " in text
    for entry in release.files:
        assert f"| {entry.path} | {entry.size:,} | `{entry.sha256}` |" in text
    assert release.digest in text
    assert "None" not in text


def test_a_release_without_measurements_has_a_card_too(tmp_path: Path) -> None:
    small(tmp_path, 2)
    (tmp_path / "personalize_v2" / "1" / "training.json").unlink()
    text = card.render(payload(release_in(tmp_path)), b'{"passed": false, "findings": []}')
    assert "| made for week | not recorded |" in text
    assert "Not recorded: the release has no training.json" in text
    assert "Not passed; the whole report is `check.json`." in text


def test_training_weeks_and_the_sample_are_told_where_they_are_recorded(tmp_path: Path) -> None:
    small(tmp_path, 2)
    put(tmp_path / "personalize_v2" / "1" / "training.json", '{"train_weeks": [31, 34], "sample": 0.1}')
    text = card.render(payload(release_in(tmp_path)))
    assert "| trained on weeks | 31, 34 |" in text
    assert "| share of the customers | 10% |" in text


def test_what_the_check_measured_is_a_table(tmp_path: Path) -> None:
    small(tmp_path, 2)
    section = {"name": "quality", "verdict": "passed", "figure": "NDCG@10 0.31, +1.2% [+0.4%, +2.0%]"}
    finding = {"severity": "warning", "where": "latency", "what": "12% | slower\nthan live"}
    report = {"passed": True, "live": "personalize_v1", "sections": [section], "findings": [finding]}
    text = card.render(payload(release_in(tmp_path)), json.dumps(report).encode())
    assert "Passed, compared with personalize_v1; the whole report is" in text
    assert "| quality | passed | NDCG@10 0.31, +1.2% [+0.4%, +2.0%] |" in text
    assert "- warning: latency: 12% / slower than live" in text


@pytest.mark.parametrize(("name", "reason"), [("training.json", "not JSON"), ("settings.json", "JSON")])
def test_a_file_that_can_t_be_read_is_one_line(tmp_path: Path, name: str, reason: str) -> None:
    small(tmp_path, 2)
    folder = "personalize_v2/1" if name == "training.json" else "ranking/2"
    put(tmp_path / folder / name, "{")
    with pytest.raises(RacksortError, match=reason) as refused:
        card.render(payload(release_in(tmp_path)))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "training",
    [
        '{"sample": "half"}',
        '{"sample": 1' + "0" * 400 + "}",
        '{"week": "\\ud800"}',
        '{"validation": {"quality": {"list": {"ndcg@10": 1' + "0" * 400 + '}}}, "parity": {"demand": "small"}}',
        '{"validation": 5, "parity": [1], "train_weeks": 5}',
    ],
)
def test_a_card_leaves_out_what_is_recorded_wrongly(training: str, tmp_path: Path) -> None:
    small(tmp_path, 2)
    put(tmp_path / "personalize_v2" / "1" / "training.json", training)
    text = card.render(payload(release_in(tmp_path)))
    assert "share of the customers" not in text
    assert "differ from the trained ones" not in text
    assert text.encode()


@pytest.mark.parametrize("value", ["5", "null", '"all"', "[5]"])
def test_a_report_with_strange_sections_still_gives_a_card(value: str, tmp_path: Path) -> None:
    small(tmp_path, 2)
    report = f'{{"passed": true, "sections": {value}, "findings": {value}}}'.encode()
    assert "Passed; the whole report is" in card.render(payload(release_in(tmp_path)), report)


def test_a_report_nested_without_end_is_one_line(tmp_path: Path) -> None:
    small(tmp_path, 2)
    with pytest.raises(RacksortError, match="nested too deep"):
        card.render(payload(release_in(tmp_path)), b"[" * 200_000)
