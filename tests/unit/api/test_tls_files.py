"""Files of TLS to Triton are looked at before they are used, and a fault is one line with the setting's name."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st

from api import tls_files
from api.errors import SettingsInvalid
from api.settings import Settings
from api.tls_files import TlsFiles, _validity
from tests.certificates import SERVER, Shop

NOW = datetime.now(UTC).timestamp()


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop.of(tmp_path)


def test_good_files_are_read_as_they_are(shop: Shop) -> None:
    pems = shop.files.read(NOW)
    assert (pems.ca, pems.cert, pems.key) == tuple(
        path.read_bytes() for path in (shop.ours.ca, shop.client.cert, shop.client.key)
    )
    alone = TlsFiles(shop.ours.ca).read(NOW)
    assert (alone.cert, alone.key) == (None, None)


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


Change = Callable[[Shop, Path], TlsFiles]
FAULTS: list[tuple[Change, str]] = [
    (lambda shop, _: replace(shop.files, ca=Path("/no/such/ca")), "TLS_CA: '/no/such/ca' can't be read"),
    (lambda shop, at: replace(shop.files, ca=written(at, "nothing")), "TLS_CA: .* holds no certificate"),
    (lambda shop, at: replace(shop.files, ca=written(at, "")), "TLS_CA: .* holds no certificate"),
    (lambda shop, _: replace(shop.files, ca=shop.client.key), "TLS_CA: .* holds no certificate"),
    (
        lambda shop, _: replace(shop.files, ca=shop.ours.issue("x", expired=True).cert),
        "TLS_CA: .* expired on 2020-01-01",
    ),
    (lambda shop, _: replace(shop.files, cert=Path("/no/such/crt")), "TLS_CERT: .* can't be read"),
    (lambda shop, _: replace(shop.files, key=Path("/no/such/key")), "TLS_KEY: .* can't be read"),
    (lambda shop, at: replace(shop.files, cert=written(at, "nothing")), "TLS_CERT: .* holds no certificate"),
    (lambda shop, at: replace(shop.files, key=written(at, "nothing")), "TLS_KEY: .* holds no key in PEM"),
    (lambda shop, _: replace(shop.files, key=shop.server.key), "TLS_KEY: .* doesn't fit the certificate"),
    (
        lambda shop, _: replace(shop.files, **vars_of(shop.ours.issue("late", expired=True))),
        "TLS_CERT: .* has expired on 2020-01-01",
    ),
]


def vars_of(issued: object) -> dict[str, Path]:
    return {name: getattr(issued, name) for name in ("cert", "key")}


@pytest.mark.parametrize(("change", "says"), FAULTS, ids=[says for _, says in FAULTS])
def test_a_fault_names_setting_file_and_remedy(shop: Shop, tmp_path: Path, change: Change, says: str) -> None:
    with pytest.raises(ValueError, match=f"RACKSORT_TRITON_{says}") as caught:
        change(shop, tmp_path / "wrong").read(NOW)
    assert "\n" not in str(caught.value)
    assert "PRIVATE KEY" not in str(caught.value)


def test_a_key_with_a_password_is_refused_instead_of_asking_on_the_terminal(shop: Shop, tmp_path: Path) -> None:
    locked = tmp_path / "locked.key"
    key = serialization.load_pem_private_key(shop.client.key.read_bytes(), None)
    locked.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with pytest.raises(ValueError, match=r"RACKSORT_TRITON_TLS_KEY: .* without a password"):
        replace(shop.files, key=locked).read(NOW)


def test_a_bundle_of_authorities_may_have_comments(shop: Shop, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.crt"
    bundle.write_bytes(b"\n".join([shop.others.ca.read_bytes(), "# Zürich".encode(), shop.ours.ca.read_bytes()]))
    assert replace(shop.files, ca=bundle).read(NOW).ca == bundle.read_bytes()
    bundle.write_bytes(bundle.read_bytes()[:-30])  # being written
    with pytest.raises(ValueError, match=r"RACKSORT_TRITON_TLS_CA: .* holds no certificate"):
        replace(shop.files, ca=bundle).read(NOW)


def test_only_what_was_checked_is_read(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files are replaced after the look at them, by a pair that fits as well."""
    check = tls_files._check_key

    def checked_then_replaced(cert: Path, key: Path) -> None:
        check(cert, key)
        shop.ours.issue("racksort-adapter")

    monkeypatch.setattr(tls_files, "_check_key", checked_then_replaced)
    with pytest.raises(ValueError, match=r"RACKSORT_TRITON_TLS_CERT: .* is being replaced just now; try again"):
        shop.files.read(NOW)


def test_files_that_are_gone_while_they_are_looked_at_are_named(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    check = tls_files._check_key

    def removed_then_checked(cert: Path, key: Path) -> None:
        cert.unlink()
        check(cert, key)

    monkeypatch.setattr(tls_files, "_check_key", removed_then_checked)
    with pytest.raises(ValueError, match=r"RACKSORT_TRITON_TLS_KEY: .*\.key' or .* can't be read \(No such file"):
        shop.files.read(NOW)


def test_a_certificate_of_the_future_is_refused(shop: Shop) -> None:
    with pytest.raises(ValueError, match=r"RACKSORT_TRITON_TLS_CERT: .* only valid from .* look at the clock"):
        shop.files.read(datetime(1999, 12, 31, tzinfo=UTC).timestamp())


@given(st.datetimes(datetime(2001, 1, 1), datetime(2120, 1, 1)).map(lambda at: at.replace(microsecond=0, tzinfo=UTC)))
def test_validity_is_read_as_the_library_reads_it(until: datetime) -> None:
    """Both ways to write a time: until 2049, and from 2050 on."""
    made = trustme.CA().issue_cert(SERVER, not_after=until).cert_chain_pems[0].bytes()
    assert _validity(ssl.PEM_cert_to_DER_cert(made.decode()))[1] == until.timestamp()


def test_the_version_changes_when_a_file_is_replaced(shop: Shop) -> None:
    files, before = shop.files, shop.files.version
    assert before == files.version
    shop.ours.issue("racksort-adapter", to="next").key.replace(shop.client.key)
    assert files.version != before
    shop.client.key.unlink()
    assert files.version == ()


def variables(shop: Shop) -> dict[str, str]:
    return {
        "RACKSORT_TRITON": "racksort-triton:8001",
        "RACKSORT_TRITON_TLS_CA": str(shop.ours.ca),
        "RACKSORT_TRITON_TLS_CERT": str(shop.client.cert),
        "RACKSORT_TRITON_TLS_KEY": str(shop.client.key),
        "RACKSORT_TRITON_TLS_NAME": SERVER,
    }


def test_settings_say_how_triton_is_asked(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in variables(shop).items():
        monkeypatch.setenv(name, value)
    assert Settings.load().triton_tls == shop.files
    for name in ("CERT", "KEY", "NAME"):
        monkeypatch.setenv(f"RACKSORT_TRITON_TLS_{name}", " ")  # blank is unset
    assert Settings.load().triton_tls == TlsFiles(shop.ours.ca)
    monkeypatch.setenv("RACKSORT_TRITON_TLS_CA", "")
    assert Settings.load().triton_tls is None


@pytest.mark.parametrize(
    ("unset", "says"),
    [
        ("RACKSORT_TRITON_TLS_KEY", "RACKSORT_TRITON_TLS_KEY isn't set: RACKSORT_TRITON_TLS_CERT needs it"),
        ("RACKSORT_TRITON_TLS_CERT", "RACKSORT_TRITON_TLS_CERT isn't set: RACKSORT_TRITON_TLS_KEY needs it"),
        ("RACKSORT_TRITON_TLS_CA", "RACKSORT_TRITON_TLS_CA isn't set: without Triton's authority"),
        ("RACKSORT_TRITON", "RACKSORT_TRITON isn't set: .* is for a Triton that runs elsewhere"),
    ],
)
def test_settings_that_lack_one_of_them_are_one_line(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, unset: str, says: str
) -> None:
    for name, value in variables(shop).items():
        if name != unset:
            monkeypatch.setenv(name, value)
    with pytest.raises(SettingsInvalid, match=says) as caught:
        Settings.load()
    assert "\n" not in str(caught.value)
