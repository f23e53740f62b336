from __future__ import annotations

from pathlib import Path

import pydantic
import pytest

from api.errors import SettingsInvalid
from api.settings import Settings


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"RACKSORT_{name.upper()}", raising=False)


def test_the_defaults_fit_together() -> None:
    settings = Settings.load()
    assert settings.catalog_dir == Path("var/catalog")
    assert settings.now_day is None


def test_variables_are_read_and_overrides_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RACKSORT_PORT", "9000")
    monkeypatch.setenv("RACKSORT_TRITON", "triton:8001")
    settings = Settings.load(port=9001, triton=None)
    assert (settings.port, settings.triton) == (9001, "triton:8001")


@pytest.mark.parametrize("text", ["2017-11-13T05:00:00Z", "2017-11-13T05:00:00", "2017-11-13T06:00:00+01:00"])
def test_now_is_a_day_number(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("RACKSORT_NOW", text)
    assert Settings.load().now_day == pytest.approx(17_483 + 5 / 24)


def test_an_empty_now_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RACKSORT_NOW", "")
    assert Settings.load().now is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RACKSORT_PORT", "eighty"),
        ("RACKSORT_PORT", "70000"),
        ("RACKSORT_TRITON", "localhost"),
        ("RACKSORT_TRITON", "http://localhost:8001"),
        ("RACKSORT_TRITON", "localhost:0"),
        ("RACKSORT_RELEASE", "0"),
        ("RACKSORT_NOW", "week 47"),
        ("RACKSORT_DEADLINE_MS", "0"),
        ("RACKSORT_MAX_WAITING", "63"),
        ("RACKSORT_MAX_CALLS_IN_FLIGHT", "-1"),
        ("RACKSORT_CALL_TIMEOUT_MS", "299"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsInvalid, match=name) as caught:
        Settings.load()
    assert "\n" not in str(caught.value)


def test_a_setting_that_doesnt_exist_is_refused() -> None:
    with pytest.raises(SettingsInvalid, match="no setting 'prot'"):
        Settings.load(prot=80)


def test_settings_dont_change() -> None:
    with pytest.raises(pydantic.ValidationError):
        Settings.load().port = 1
