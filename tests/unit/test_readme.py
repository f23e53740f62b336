"""What the README promises exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from api.settings import Settings, variable
from racksort.cli import VERBS

ROOT = Path(__file__).parent.parent.parent
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md")] + sorted((ROOT / "docs").glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://)([^)#]+)", page.read_text())
    missing = [link for link in links if not (page.parent / link).exists()]
    assert not missing


def test_every_setting_is_in_the_readme() -> None:
    text = (ROOT / "README.md").read_text()
    missing = [name for name in Settings.model_fields if f"`{variable(name)}`" not in text]
    assert not missing


def test_commands_of_the_pages_are_verbs() -> None:
    named = {verb for page in PAGES for verb in re.findall(r"`racksort ([a-z]+)", page.read_text())}
    assert named
    assert named <= set(VERBS)


def test_no_placeholder_is_left() -> None:
    assert not [page.name for page in PAGES if "@@" in page.read_text()]
