"""The lines of docs/operations.md that change the document of releases, run by a shell without a cluster around it."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from api.releases import document, store
from api.releases.document import Traffic
from tests.k8s.manifests import ROOT
from tests.unit.releases.candidates import small

KUBECTL = """\
#!/bin/sh
# As far as the lines need it: the only pod is this machine.
case "$1" in
  get) echo pod/adapter-1 ;;
  exec) while [ "$1" != -- ]; do shift; done; shift; exec "$@" ;;
esac
"""
AT = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """Of the document; beside it a folder to work in, with a model repository of releases 1 and 2."""
    small(small(tmp_path / "work" / "model_repository", 1), 2)
    folder = tmp_path / "releases"
    folder.mkdir()
    return folder


VERB = "canary 2 --percent 5"
"""Of the lines; the page says that others take its place."""


def carry_out(volume: Path, meanwhile: Path | None = None, verb: str = VERB) -> str:
    """Run the lines, which put ``meanwhile`` in the document's place after they have read it; what they say of it."""
    text = (ROOT / "docs" / "operations.md").read_text()
    lines = text[text.index("        POD=$(") : text.index("   *Not changed*")].replace("/srv/releases", str(volume))
    assert lines.count(VERB) == 1
    lines = lines.replace(VERB, verb)
    tools = volume.parent / "bin"
    tools.mkdir(exist_ok=True)
    (tools / "kubectl").write_text(KUBECTL)
    move = "true" if meanwhile is None else f"mv '{meanwhile}' '{volume / store.NAME}'"
    (tools / "racksort").write_text(f'#!/bin/sh\n"{sys.executable}" -m racksort "$@" && {move}\n')
    for tool in tools.iterdir():
        tool.chmod(0o755)
    return subprocess.run(
        ["/bin/sh", "-c", lines],
        cwd=volume.parent / "work",
        env=os.environ | {"PATH": f"{tools}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stderr


def test_the_first_change_makes_the_document_and_the_next_one_goes_on_from_it(volume: Path) -> None:
    path = volume / store.NAME
    assert "not changed" not in carry_out(volume)
    first = store.read(path)
    assert (first.version, first.live) == (1, 1)
    assert first.canary is not None
    assert first.canary.release == 2
    store.change(path, lambda traffic: document.end_canary(traffic, at=AT, why="a guard"))
    assert "not changed" not in carry_out(volume)
    assert store.read(path).version == 3


def test_a_canary_is_promoted_and_rolled_back_by_the_same_lines(volume: Path) -> None:
    path = volume / store.NAME
    seen = []
    for verb in (VERB, "promote 2", "rollback"):
        assert "not changed" not in carry_out(volume, verb=verb)
        now = store.read(path)
        seen.append((now.version, now.live, now.canary is not None))
    assert seen == [(1, 1, True), (2, 2, False), (3, 1, False)]


@pytest.mark.parametrize("there", [True, False])
def test_a_change_that_somebody_made_meanwhile_stays(there: bool, volume: Path) -> None:
    path, theirs = volume / store.NAME, volume.parent / "theirs.json"
    before = Traffic(1)
    if there:
        before = store.change(path, lambda traffic: document.canary(traffic, 2, 1.0, at=AT)).after
    store.change(theirs, lambda _: document.canary(before, 2, 10.0, at=AT, why="theirs"))
    assert "not changed: begin again" in carry_out(volume, theirs)
    assert store.read(path).why == "theirs"
