from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from ensemble.errors import RacksortError
from ensemble.releases.layout import Release, release_in
from ensemble.releases.publish import Publisher, publish
from ensemble.releases.verify import verify, verify_repository
from tests.unit.releases.candidates import put, small
from tests.unit.releases.keys import KeyPair, make_keys

CLI = Path(sys.executable).with_name("model_signing")


@pytest.fixture
def keys(tmp_path: Path) -> KeyPair:
    return make_keys(tmp_path / "keys")


@pytest.fixture
def signed(tmp_path: Path, keys: KeyPair) -> Release:
    """Release 2, published with a signature beside release 1."""
    repository = small(tmp_path / "live", 1)
    assert publish(
        release_in(small(tmp_path / "candidate", 2)), repository, Publisher("0.1.0", key=keys.private)
    ).signed
    return release_in(repository, 2)


def standard_tool(release: Release, key: Path) -> subprocess.CompletedProcess[str]:
    """``model_signing verify`` on the model repository."""
    signature = str(release.extras_dir / "model.sig")
    options = ["--signature", signature, "--public_key", str(key), "--ignore_unsigned_files"]
    return subprocess.run(
        [str(CLI), "verify", "key", *options, str(release.repository)], capture_output=True, text=True, check=False
    )


def test_a_signed_release_verifies_here_and_with_the_standard_tool(signed: Release, keys: KeyPair) -> None:
    verified = verify(signed, keys.public)
    assert verified.signed
    assert len(verified.manifest.files) == len(signed.files())
    assert standard_tool(signed, keys.public).returncode == 0
    (signed.version_dirs["ranking"] / "ranking.py").write_text("# evil\n")
    assert standard_tool(signed, keys.public).returncode != 0


@pytest.mark.parametrize("curve", [ec.SECP384R1(), ec.SECP521R1()])
def test_the_other_curves_sign_too(tmp_path: Path, curve: ec.EllipticCurve) -> None:
    keys = make_keys(tmp_path / "keys", curve)
    (tmp_path / "live").mkdir()
    publish(release_in(small(tmp_path / "candidate", 2)), tmp_path / "live", Publisher("0.1.0", key=keys.private))
    assert verify(release_in(tmp_path / "live"), keys.public).signed


def altered(release: Release) -> None:
    (release.version_dirs["ranking"] / "ranking.py").write_text("# evil\n")


def same_size(release: Release) -> None:
    path = release.extras_dir / "weights.npz"
    path.write_bytes(path.read_bytes()[::-1])


def foreign(release: Release) -> None:
    put(release.version_dirs["ranking"] / "numpy.py", "import os")


def foreign_in_the_ensemble(release: Release) -> None:
    put(release.ensemble_dir / "configs" / "gpu.pbtxt", "")


def missing(release: Release) -> None:
    (release.version_dirs["product_pool"] / "model.onnx").unlink()


def linked(release: Release) -> None:
    folder = release.version_dirs["product_pool"]
    folder.rename(folder.with_name("elsewhere"))
    folder.symlink_to("elsewhere")


def without_manifest(release: Release) -> None:
    (release.extras_dir / "manifest.json").unlink()


def manifest_of_another(release: Release) -> None:
    path = release.extras_dir / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"release": 1}))


def digest_of_another(release: Release) -> None:
    path = release.extras_dir / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"digest": "0" * 64}))


def broken_manifest(release: Release) -> None:
    (release.extras_dir / "manifest.json").write_text("[]")


def later_format(release: Release) -> None:
    (release.extras_dir / "manifest.json").write_text('{"format": 2}')


def other_model_config(release: Release) -> None:
    path = release.repository / "ranking" / "config.pbtxt"
    path.write_text(path.read_text() + 'parameters { key: "EXECUTION_ENV_PATH" value { string_value: "/tmp/x" } }\n')


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (altered, r"ranking/2/ranking\.py: was altered since"),
        (same_size, r"weights\.npz: was altered since"),
        (foreign, r"ranking/2/numpy\.py: isn't part of the release"),
        (foreign_in_the_ensemble, r"personalize_v2/configs/gpu\.pbtxt: isn't part of the release"),
        (missing, r"product_pool/2/model\.onnx: missing"),
        (linked, r"product_pool/2/model\.onnx: is reached through a link"),
        (without_manifest, r"manifest\.json: missing"),
        (manifest_of_another, r"manifest\.json: speaks of release 1"),
        (digest_of_another, r"manifest\.json: its digest isn't that of the files"),
        (broken_manifest, r"manifest\.json: not a manifest"),
        (later_format, r"manifest\.json: has format 2"),
        (other_model_config, r"ranking/config\.pbtxt: differs from the contract"),
    ],
)
def test_harm_is_found_without_a_key_in_one_line(signed: Release, harm: Callable[[Release], None], reason: str) -> None:
    harm(signed)
    with pytest.raises(RacksortError, match=reason) as refused:
        verify(signed)
    assert "\n" not in str(refused.value)


def test_python_s_caches_are_refused_where_it_matters_who_wrote_them(signed: Release, keys: KeyPair) -> None:
    put(signed.version_dirs["ranking"] / "__pycache__" / "model.cpython-311.pyc", "")
    verify(signed)
    with pytest.raises(RacksortError, match=r"model\.cpython-311\.pyc: may run instead of the code that was signed"):
        verify(signed, keys.public)


def test_several_faults_are_counted(signed: Release) -> None:
    altered(signed)
    missing(signed)
    with pytest.raises(RacksortError, match=r"\(and 1 more\)$"):
        verify(signed)


def test_an_altered_manifest_is_found_by_its_signature(signed: Release, keys: KeyPair) -> None:
    path = signed.extras_dir / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"created": "2020-01-01T00:00:00+00:00"}))
    verify(signed)
    with pytest.raises(RacksortError, match=r"doesn't verify with .*Hash mismatch") as refused:
        verify(signed, keys.public)
    assert "\n" not in str(refused.value)


def test_another_key_an_unsigned_release_and_a_borrowed_signature_are_refused(
    tmp_path: Path, signed: Release, keys: KeyPair
) -> None:
    with pytest.raises(RacksortError, match=r"doesn't verify with .*Key mismatch"):
        verify(signed, make_keys(tmp_path / "others").public)
    publish(release_in(small(tmp_path / "unsigned", 3)), signed.repository, Publisher("0.1.0"))
    unsigned = release_in(signed.repository, 3)
    assert not verify(unsigned).signed
    with pytest.raises(RacksortError, match="isn't signed; publish it with --key"):
        verify(unsigned, keys.public)
    shutil.copy(signed.extras_dir / "model.sig", unsigned.extras_dir / "model.sig")
    with pytest.raises(RacksortError, match="signs other files than this release's"):
        verify(unsigned, keys.public)
    (unsigned.extras_dir / "model.sig").write_text("{}")
    with pytest.raises(RacksortError, match="not a signature of a model"):
        verify(unsigned, keys.public)


def test_a_forged_statement_under_a_true_signature_is_refused(signed: Release, keys: KeyPair) -> None:
    path = signed.extras_dir / "model.sig"
    bundle = json.loads(path.read_text())
    bundle["dsseEnvelope"]["signatures"][0]["sig"] = "MEUCIQ" + bundle["dsseEnvelope"]["signatures"][0]["sig"][6:]
    bundle["dsseEnvelope"]["payload"] = bundle["dsseEnvelope"]["payload"][:-8] + "AAAAAAA="
    path.write_text(json.dumps(bundle))
    with pytest.raises(RacksortError, match=r"doesn't verify|not a signature"):
        verify(signed, keys.public)


def without_signatures(bundle: dict[str, Any]) -> None:
    bundle["dsseEnvelope"]["signatures"] = []


def without_material(bundle: dict[str, Any]) -> None:
    del bundle["verificationMaterial"]


@pytest.mark.parametrize("change", [without_signatures, without_material])
def test_a_bundle_that_lacks_something_is_one_line(
    change: Callable[[dict[str, Any]], None], signed: Release, keys: KeyPair
) -> None:
    path = signed.extras_dir / "model.sig"
    bundle = json.loads(path.read_text())
    change(bundle)
    path.write_text(json.dumps(bundle))
    with pytest.raises(RacksortError, match="doesn't verify with") as refused:
        verify(signed, keys.public)
    assert "\n" not in str(refused.value)


def test_a_signature_nested_without_end_is_one_line(signed: Release, keys: KeyPair) -> None:
    (signed.extras_dir / "model.sig").write_text("[" * 200_000)
    with pytest.raises(RacksortError, match="not a signature of a model"):
        verify(signed, keys.public)


def test_keys_that_can_t_be_used_are_one_line(tmp_path: Path, signed: Release, keys: KeyPair) -> None:
    candidate = release_in(small(tmp_path / "next", 3))
    put(tmp_path / "text.pem", "no key")
    curve = make_keys(tmp_path / "curve", ec.SECP256K1())
    for key in (tmp_path / "nowhere.pem", tmp_path / "text.pem", keys.public, curve.private):
        with pytest.raises(RacksortError, match=r"not a key to sign with .*openssl") as refused:
            publish(candidate, signed.repository, Publisher("0.1.0", key=key))
        assert "\n" not in str(refused.value)
    for key in (tmp_path / "nowhere.pem", tmp_path / "text.pem", keys.private, curve.public):
        with pytest.raises(RacksortError, match="not a public key") as refused:
            verify(signed, key)
        assert "\n" not in str(refused.value)


def test_what_is_published_unsigned_is_not_signed_afterwards(tmp_path: Path, keys: KeyPair) -> None:
    repository = small(tmp_path / "live", 1)
    candidate = release_in(small(tmp_path / "candidate", 2))
    publish(candidate, repository, Publisher("0.1.0"))
    with pytest.raises(RacksortError, match=r"published already, without a signature; .*--as 3"):
        publish(candidate, repository, Publisher("0.1.0", key=keys.private))


def unpinned(repository: Path) -> None:
    put(repository / "ranking" / "999" / "model.py", "import os")


def empty_version(repository: Path) -> None:
    (repository / "product_pool" / "999").mkdir()


def stub(repository: Path) -> None:
    put(repository / "ranking" / "triton_python_backend_stub", "#!/bin/sh")


def stub_at_the_top(repository: Path) -> None:
    put(repository / "triton_python_backend_stub", "#!/bin/sh")


def another_model(repository: Path) -> None:
    put(repository / "more" / "1" / "model.py", "import os")


def hidden_model(repository: Path) -> None:
    put(repository / ".more" / "1" / "model.py", "import os")


def linked_version(repository: Path) -> None:
    (repository / "ranking" / "7").symlink_to("2")


def linked_model(repository: Path) -> None:
    (repository / "more").symlink_to("ranking")


def further_config(repository: Path) -> None:
    put(repository / "ranking" / "configs" / "gpu.pbtxt", "")


def linked_config(repository: Path) -> None:
    path = repository / "product_pool" / "config.pbtxt"
    path.rename(repository.parent / "elsewhere")
    path.symlink_to(repository.parent / "elsewhere")


def staging_of_another_model(repository: Path) -> None:
    put(repository / "product_pool" / ".staging-9" / "model.onnx", "")


FOREIGN = [
    (unpinned, "ranking/999"),
    (empty_version, "product_pool/999"),
    (stub, "ranking/triton_python_backend_stub"),
    (stub_at_the_top, "live/triton_python_backend_stub"),
    (another_model, "more"),
    (hidden_model, r"\.more"),
    (linked_version, "ranking/7"),
    (linked_model, "more"),
    (further_config, r"ranking/configs/gpu\.pbtxt"),
    (linked_config, r"product_pool/config\.pbtxt"),
    (staging_of_another_model, r"product_pool/\.staging-9"),
]


@pytest.mark.parametrize(("harm", "what"), FOREIGN)
def test_with_a_key_nothing_is_passed_that_triton_would_run_and_nobody_signed(
    tmp_path: Path, keys: KeyPair, harm: Callable[[Path], None], what: str
) -> None:
    repository = tmp_path / "live"
    repository.mkdir()
    for number in (2, 3):
        publish(
            release_in(small(tmp_path / str(number), number)), repository, Publisher("0.1.0", key=keys.private), number
        )
    put(repository / "releases.json", "{}")
    put(repository / ".releases.json.lock", "")
    put(repository / "ranking" / ".staging-4" / "versions.json", "{}")  # a publisher is at work
    assert [each.manifest.release for each in verify_repository(repository, None, keys.public)] == [2, 3]
    assert [each.manifest.release for each in verify_repository(repository, 3, keys.public)] == [3]
    harm(repository)
    verify_repository(repository, None, None)
    with pytest.raises(RacksortError, match=f"{what}: Triton may load or run it") as refused:
        verify_repository(repository, 3, keys.public)
    assert "\n" not in str(refused.value)


def test_versions_of_a_release_that_doesn_t_verify_are_foreign(keys: KeyPair, signed: Release) -> None:
    with pytest.raises(RacksortError, match=r"category_affinity/1: Triton may load .* \(and 4 more\)"):
        verify_repository(signed.repository, 2, keys.public)
