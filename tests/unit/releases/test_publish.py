from __future__ import annotations

import json
import os
import shutil
import stat
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ensemble import configs
from ensemble.errors import RacksortError
from ensemble.releases import lock, staging
from ensemble.releases.layout import Release, numbers_in, release_in
from ensemble.releases.publish import Outcome, Publisher, publish
from ensemble.releases.verify import verify
from ensemble.releases.withdraw import withdraw
from tests.conftest import REPOSITORY
from tests.unit.releases.candidates import put, releases_in, small
from tests.unit.releases.keys import make_keys

NOW = datetime(2026, 9, 1, 12, tzinfo=UTC)
PUBLISHER = Publisher(made_by="0.1.0", now=lambda: NOW)


@pytest.fixture
def live(tmp_path: Path) -> Path:
    """A repository in which release 1 serves."""
    return small(tmp_path / "live", 1)


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_release_goes_in_whole_beside_what_is_there(tmp_path: Path, live: Path) -> None:
    before = snapshot(live)
    candidate = release_in(small(tmp_path / "candidate", 2))
    published = publish(candidate, live, PUBLISHER)
    after = snapshot(live)
    assert {path: after[path] for path in before} == before
    assert numbers_in(live) == [1, 2]
    release = release_in(live, 2)
    assert release.versions == dict.fromkeys(release.versions, 2)
    for path in candidate.files():
        assert (live / path).read_bytes() == (candidate.repository / path).read_bytes()
    assert staging.left_behind(live) == []
    assert (published.number, published.signed, published.already) == (2, False, False)
    verified = verify(release).manifest
    assert (verified.digest, verified.created, verified.racksort) == (
        published.digest,
        "2026-09-01T12:00:00+00:00",
        "0.1.0",
    )
    assert published.files == len(verified.files) == len(release.files())


def test_an_empty_folder_becomes_a_repository(tmp_path: Path) -> None:
    target = tmp_path / "new"
    target.mkdir()
    publish(release_in(small(tmp_path / "candidate", 4)), target, PUBLISHER)
    assert configs.stale(target, configs.regenerate(target, 4)) == []
    verify(release_in(target))


def test_publishing_again_does_nothing_and_says_so(tmp_path: Path, live: Path) -> None:
    candidate = release_in(small(tmp_path / "candidate", 2))
    first = publish(candidate, live, PUBLISHER)
    before = snapshot(live)

    def checked(_candidate: Release) -> Outcome:
        raise AssertionError("what is published already isn't checked again")

    again = publish(candidate, live, Publisher("9.9.9", checked=checked))
    assert again == replace(first, already=True)
    assert snapshot(live) == before


def test_a_number_never_gets_other_contents(tmp_path: Path, live: Path) -> None:
    before = snapshot(live)
    with pytest.raises(RacksortError, match=r"release 1 is published with other contents .*--as 2"):
        publish(release_in(small(tmp_path / "candidate", 1, "other")), live, PUBLISHER)
    assert snapshot(live) == before


def test_a_release_takes_another_number_with_all_its_versions(tmp_path: Path, live: Path) -> None:
    candidate = release_in(small(tmp_path / "candidate", 1, "other"))
    published = publish(candidate, live, PUBLISHER, number=3)
    release = release_in(live, 3)
    assert published.number == 3
    assert release.versions == dict.fromkeys(release.versions, 3)
    assert release.history_until_day == candidate.history_until_day
    verify(release)
    assert publish(candidate, live, PUBLISHER, number=3).already


def test_nothing_in_a_release_but_its_ensemble_knows_its_number(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    publish(release_in(REPOSITORY), target, PUBLISHER, number=7)
    renumbered, original = release_in(target), release_in(REPOSITORY)
    for model, folder in renumbered.version_dirs.items():
        for path in folder.iterdir():
            assert path.read_bytes() == (original.version_dirs[model] / path.name).read_bytes()
    text = (renumbered.ensemble_dir / "config.pbtxt").read_text()
    assert text.replace("personalize_v7", "personalize_v1").replace("model_version: 7", "model_version: 1") == (
        (original.ensemble_dir / "config.pbtxt").read_text()
    )


def test_a_version_that_is_taken_is_never_overwritten(tmp_path: Path, live: Path) -> None:
    candidate = release_in(small(tmp_path / "candidate", 2, versions={"ranking": 1}))
    with pytest.raises(RacksortError, match=r"ranking/1: is taken \(release 1 pins it\); publish with `--as 2`"):
        publish(candidate, live, PUBLISHER)
    put(live / "product_pool" / "2" / "model.onnx", "by hand")
    with pytest.raises(RacksortError, match=r"product_pool/2: is taken \(no release pins it\).*--as 3"):
        publish(release_in(small(tmp_path / "next", 2)), live, PUBLISHER)
    (live / "personalize_v9" / "1").mkdir(parents=True)
    with pytest.raises(RacksortError, match="personalize_v9: is there and isn't a release"):
        publish(release_in(small(tmp_path / "last", 9)), live, PUBLISHER)
    assert numbers_in(live) == [1]
    assert staging.left_behind(live) == []


def test_what_the_check_refuses_leaves_no_trace(tmp_path: Path, live: Path) -> None:
    before = snapshot(live)
    publisher = Publisher("0.1.0", checked=lambda _candidate: Outcome(("weights aren't finite; train anew", "more")))
    with pytest.raises(RacksortError, match=r"release 2 is refused: weights .* train anew \(and 1 more\)"):
        publish(release_in(small(tmp_path / "candidate", 2)), live, publisher)
    assert snapshot(live) == before


def test_the_check_s_report_is_published_and_is_not_part_of_the_digest(tmp_path: Path, live: Path) -> None:
    report = json.dumps(
        {"passed": True, "findings": [{"severity": "warning", "where": "latency", "what": "slower"}]}
    ).encode()
    candidate = release_in(small(tmp_path / "candidate", 2))
    publisher = Publisher("0.1.0", checked=lambda _candidate: Outcome(report=report))
    published = publish(candidate, live, publisher)
    extras = release_in(live, 2).extras_dir
    assert (extras / "check.json").read_bytes() == report
    assert "warning: latency: slower" in (extras / "model-card.md").read_text()
    verify(release_in(live, 2))
    assert publish(candidate, live, PUBLISHER).digest == published.digest


def test_other_model_configurations_are_refused(tmp_path: Path, live: Path) -> None:
    candidate = small(tmp_path / "candidate", 2)
    path = live / "ranking" / "config.pbtxt"
    path.write_text(path.read_text().replace("max_batch_size: 64", "max_batch_size: 32"))
    with pytest.raises(RacksortError, match=r"live/ranking/config\.pbtxt: differs from what the release was made for"):
        publish(release_in(candidate), live, PUBLISHER)
    path = candidate / "category_affinity" / "configs" / "gpu.pbtxt"
    path.write_text("")
    with pytest.raises(RacksortError, match=r"candidate/category_affinity/configs/gpu\.pbtxt: differs from the contra"):
        publish(release_in(candidate), live, PUBLISHER)


@pytest.mark.parametrize("where", ["file", "folder", "version"])
def test_links_are_refused(tmp_path: Path, live: Path, where: str) -> None:
    release = release_in(small(tmp_path / "candidate", 2))
    outside = tmp_path / "outside"
    if where == "version":
        release.version_dirs["ranking"].rename(outside)
        release.version_dirs["ranking"].symlink_to(outside)
    else:
        put(outside / "model.onnx.data", "")
        target = outside / "model.onnx.data" if where == "file" else outside
        (release.version_dirs["product_pool"] / "external").symlink_to(target)
    with pytest.raises(RacksortError, match=r"is a link|isn't an ordinary file"):
        publish(release, live, PUBLISHER)
    assert numbers_in(live) == [1]


def test_a_candidate_that_changes_meanwhile_is_refused(tmp_path: Path, live: Path) -> None:
    before = snapshot(live)
    candidate = release_in(small(tmp_path / "candidate", 2))
    changing = candidate.version_dirs["ranking"] / "ranking.py"

    def checked(_candidate: Release) -> Outcome:
        changing.write_text("# other\n")
        return Outcome()

    with pytest.raises(RacksortError, match=r"ranking\.py: changed while it was published"):
        publish(candidate, live, Publisher("0.1.0", checked=checked))
    assert {path: content for path, content in snapshot(live).items() if path != lock.LOCK} == before


def test_a_candidate_that_vanishes_is_one_line(tmp_path: Path, live: Path) -> None:
    candidate = release_in(small(tmp_path / "candidate", 2))

    def checked(_candidate: Release) -> Outcome:
        shutil.rmtree(candidate.repository)
        return Outcome()

    with pytest.raises(RacksortError, match=r"candidate/.*: No such file or directory"):
        publish(candidate, live, Publisher("0.1.0", checked=checked))
    assert numbers_in(live) == [1]
    assert staging.left_behind(live) == []


def test_two_publishers_keep_apart(tmp_path: Path, live: Path) -> None:
    one, other = (release_in(small(tmp_path / name, number)) for name, number in (("one", 2), ("other", 3)))
    refusals = []

    def step(name: str) -> None:
        if name == "staged":
            with pytest.raises(RacksortError, match="another `racksort release publish` or `gc` writes there") as error:
                publish(other, live, PUBLISHER)
            refusals.append(error)

    publish(one, live, Publisher("0.1.0", step=step))
    assert len(refusals) == 1
    publish(other, live, PUBLISHER)
    assert [release.number for release in releases_in(live)] == [1, 2, 3]


def test_python_s_caches_and_old_reports_are_not_published(tmp_path: Path, live: Path) -> None:
    candidate = release_in(small(tmp_path / "candidate", 2))
    put(candidate.version_dirs["ranking"] / "__pycache__" / "model.pyc", "")
    for name in ("manifest.json", "model.sig", "model-card.md", "check.json", ".gitkeep"):
        put(candidate.extras_dir / name, "old")
    publish(candidate, live, PUBLISHER)
    assert not (live / "ranking" / "2" / "__pycache__").exists()
    found = {path.name: path.read_text() for path in release_in(live, 2).extras_dir.iterdir()}
    assert found.keys() == {"manifest.json", "model-card.md", "training.json", "weights.npz"}
    assert "old" not in (found["manifest.json"], found["model-card.md"])


def test_another_user_s_triton_can_read_what_is_published_under_any_umask(tmp_path: Path) -> None:
    candidate = release_in(small(tmp_path / "candidate", 2))
    for path in candidate.repository.rglob("*.onnx"):
        path.chmod(0o600)
    keys = make_keys(tmp_path / "keys")
    target = tmp_path / "new"
    target.mkdir()
    before = os.umask(0o077)
    try:
        publish(candidate, target, Publisher("0.1.0", key=keys.private))
    finally:
        os.umask(before)
    for path in target.rglob("*"):
        if path.name != lock.LOCK:
            assert stat.S_IMODE(path.stat().st_mode) == (0o755 if path.is_dir() else 0o644), path


@pytest.mark.parametrize("harm", ["altered", "manifest", "folder", "config"])
def test_a_damaged_release_is_not_said_to_be_published_and_the_remedy_works(
    tmp_path: Path, live: Path, harm: str
) -> None:
    candidate = release_in(small(tmp_path / "candidate", 2))
    first = publish(candidate, live, PUBLISHER)
    if harm == "altered":
        (live / "product_pool" / "2" / "model.onnx").write_text("lost")
    elif harm == "manifest":
        (live / "personalize_v2" / "1" / "manifest.json").unlink()
    elif harm == "folder":
        shutil.rmtree(live / "ranking" / "2")
    else:
        (live / "personalize_v2" / "config.pbtxt").write_text("name: ")
    with pytest.raises(RacksortError, match="`racksort release gc --withdraw 2`, then `publish`") as refused:
        publish(candidate, live, PUBLISHER)
    assert "\n" not in str(refused.value)
    withdraw(live, 2)
    assert publish(candidate, live, PUBLISHER) == first
    verify(release_in(live, 2))


def test_what_is_published_with_another_key_is_not_said_to_be_signed(tmp_path: Path, live: Path) -> None:
    candidate = release_in(small(tmp_path / "candidate", 2))
    keys, others = make_keys(tmp_path / "keys"), make_keys(tmp_path / "others")
    publish(candidate, live, Publisher("0.1.0", key=keys.private))
    assert publish(candidate, live, Publisher("0.1.0", key=keys.private)).already
    assert publish(candidate, live, PUBLISHER).signed
    with pytest.raises(RacksortError, match=r"with the public half of .*others/release\.key \(Key mismatch"):
        publish(candidate, live, Publisher("0.1.0", key=others.private))


def test_table_files_are_published_signed_verified_and_collected_like_all_others(tmp_path: Path, live: Path) -> None:
    repository = small(tmp_path / "candidate", 2)
    table = "collaborative_filter/2/pairs.rows.table"
    put(repository / table, "rows" * 5000)
    keys = make_keys(tmp_path / "keys")
    publish(release_in(repository), live, replace(PUBLISHER, key=keys.private))
    release = release_in(live, 2)
    assert table in {entry.path for entry in verify(release, keys.public).manifest.files}
    put(live / table, "rows" * 4999 + "rowz")
    with pytest.raises(RacksortError, match=r"pairs\.rows\.table"):
        verify(release, keys.public)
    withdraw(live, 2)
    assert not (live / table).exists()
