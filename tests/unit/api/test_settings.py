from __future__ import annotations

from pathlib import Path

import pydantic
import pytest
import trustme

from api.catalog.elastic.connection import Connection
from api.errors import SettingsInvalid
from api.settings import Settings, variable


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(variable(name), raising=False)


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
        ("RACKSORT_CALL_TIMEOUT_MS", "999"),
        ("RACKSORT_START_TIMEOUT_MS", "-1"),
        ("RACKSORT_MAX_BODY_BYTES", "0"),
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


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("RACKSORT_DEADLNE_MS", "RACKSORT_DEADLINE_MS"),
        ("RACKSORT_TRITON_URL", "RACKSORT_TRITON"),
        ("racksort_prot", "RACKSORT_PORT"),
        ("RACKSORT_", "RACKSORT_"),
    ],
)
def test_a_variable_that_nothing_reads_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, nearest: str) -> None:
    monkeypatch.setenv(name, "5")
    with pytest.raises(SettingsInvalid, match=f"^{name}: .*{nearest}") as caught:
        Settings.load()
    assert "\n" not in str(caught.value)


def test_variables_of_the_load_test_are_let_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RACKSORT_PEER_CATALOG", "var/catalog")
    monkeypatch.setenv("RACKSORT_PATHS", "paths.txt")
    monkeypatch.setenv("racksort_port", "9000")
    assert Settings.load().port == 9_000


def test_settings_dont_change() -> None:
    with pytest.raises(pydantic.ValidationError):
        Settings.load().port = 1


def test_elasticsearch_is_named_by_the_variables_that_its_other_clients_use(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    authority = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(authority)
    monkeypatch.setenv("ELASTICSEARCH_URL", "https://a.shop:9200, https://b.shop:9200")
    monkeypatch.setenv("ELASTICSEARCH_API_KEY", "secret")
    monkeypatch.setenv("ELASTICSEARCH_CA_CERT", str(authority))
    settings = Settings.load()
    assert settings.connection == Connection(("https://a.shop:9200", "https://b.shop:9200"), "secret", authority)
    assert "secret" not in f"{settings!r} {settings.connection!r}"


def test_elasticsearch_without_an_address_is_one_line() -> None:
    with pytest.raises(SettingsInvalid, match="ELASTICSEARCH_URL isn't set"):
        _ = Settings.load().connection


@pytest.mark.parametrize(
    ("variables", "names"),
    [
        ({"ELASTICSEARCH_URL": "search.shop"}, "ELASTICSEARCH_URL: isn't an address"),
        ({"ELASTICSEARCH_URL": "http://search.shop"}, "ELASTICSEARCH_URL: isn't an address"),
        ({"ELASTICSEARCH_URL": "https://me:secret@search.shop:9200"}, "ELASTICSEARCH_API_KEY replaces"),
        ({"ELASTICSEARCH_URL": "https://a:9200,b"}, "ELASTICSEARCH_URL"),
        ({"ELASTICSEARCH_CA_CERT": "/no/such/file"}, "ELASTICSEARCH_CA_CERT"),
        ({"ELASTICSEARCH_FINGERPRINT": "ab:cd"}, "ELASTICSEARCH_FINGERPRINT"),
        ({"ELASTICSEARCH_VERIFY": "perhaps"}, "ELASTICSEARCH_VERIFY"),
        ({"RACKSORT_CATALOG": "solr"}, "RACKSORT_CATALOG"),
        ({"RACKSORT_MAX_DEADLINE_MS": "49"}, "RACKSORT_MAX_DEADLINE_MS .* RACKSORT_DEADLINE_MS"),
        ({"RACKSORT_SLOW_CALL_MS": "2001"}, "RACKSORT_SLOW_CALL_MS .* RACKSORT_CALL_TIMEOUT_MS"),
        ({"RACKSORT_SLOW_CALL_MS": "49"}, "RACKSORT_SLOW_CALL_MS .* RACKSORT_DEADLINE_MS"),
        ({"RACKSORT_SHADOW_SHARE": "1.5"}, "RACKSORT_SHADOW_SHARE"),
        ({"RACKSORT_POOL_REFRESH_MS": "120000"}, "RACKSORT_POOL_REFRESH_MS .* RACKSORT_POOL_STALE_MS"),
        ({"RACKSORT_POOL_PRODUCTS": "100"}, "RACKSORT_POOL_PRODUCTS"),
    ],
)
def test_what_doesnt_fit_together_is_one_line(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], names: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsInvalid, match=names) as caught:
        Settings.load()
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_an_authority_that_isnt_a_certificate_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    monkeypatch.setenv("ELASTICSEARCH_CA_CERT", str(tmp_path / "ca.pem"))
    with pytest.raises(SettingsInvalid, match=r"^ELASTICSEARCH_CA_CERT: .*holds no certificate") as caught:
        Settings.load()
    assert "\n" not in str(caught.value)


def test_blank_variables_of_elasticsearch_count_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("URL", "API_KEY", "CA_CERT", "FINGERPRINT", "VERIFY"):
        monkeypatch.setenv(f"ELASTICSEARCH_{name}", " ")
    settings = Settings.load()
    assert settings.elasticsearch_url is None
    assert settings.elasticsearch_fingerprint is None
    assert settings.elasticsearch_verify is True


@pytest.mark.parametrize("deadline_ms", [1, 50, 1_000, 60_000])
@pytest.mark.parametrize("max_ranking", [16, 1_024])
@pytest.mark.parametrize("max_calls_in_flight", [1, 2, 64])
def test_every_deadline_and_limit_gives_policies_that_fit(
    deadline_ms: int, max_ranking: int, max_calls_in_flight: int
) -> None:
    settings = Settings.load(
        deadline_ms=deadline_ms,
        max_deadline_ms=60_000,
        call_timeout_ms=60_000,
        max_ranking=max_ranking,
        max_calls_in_flight=max_calls_in_flight,
    )
    assert settings.limiter_policy.max_limit == max_ranking
    assert settings.breaker_policy.hung_calls <= max_calls_in_flight
    assert settings.patience.deadline_s == deadline_ms / 1e3
