"""``racksort rules`` on a shop of three products: what it says and with which status it ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from ensemble.errors import RacksortError
from racksort.cli import app
from tests.unit.api.test_embedded_catalog import PRODUCTS, write

PIN = {"id": "hero", "effect": "pin", "product": 1, "position": 1}
CHEESE = {"id": "no-cheese", "effect": "exclude", "products": {"categories": ["cheese"]}}


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / "catalog").mkdir()
    write(tmp_path / "catalog", products=PRODUCTS | {"brand": ["x", "", "y"]})
    return tmp_path


def ran(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["rules", *map(str, arguments)])


def document(shop: Path, *rules: dict[str, Any]) -> Path:
    path = shop / "rules.json"
    path.write_text(json.dumps({"rules": rules, "note": "a test"}))
    return path


def test_a_document_goes_through_its_life(shop: Path) -> None:
    store, catalog = ("--dir", shop / "store"), ("--catalog", shop / "catalog")
    assert "no rules are live" in ran("status", *store).output
    done = ran("apply", document(shop, PIN), *store, *catalog)
    assert (done.exit_code, done.output) == (0, "version 1 is live: 1 rule\n")
    assert "version 2" in ran("apply", document(shop, CHEESE), *store, *catalog).output
    status = json.loads(ran("status", *store, "--json").output)
    assert (status["version"], status["before"], status["note"]) == (2, 1, "a test")
    assert status["rules"] == [{"id": "no-cheese", "effect": "exclude"}]
    assert ran("rollback", *store).output == "version 1 is live again\n"
    assert "hero" in ran("status", *store).output
    assert "no rules are live" in ran("rollback", *store).output
    again = ran("rollback", *store)
    assert again.exit_code != 0
    assert "none before" in str(again.exception)


def test_a_catalog_shows_contradictions_that_ids_do_not(shop: Path) -> None:
    path = document(shop, PIN, CHEESE)
    assert ran("check", path, "--catalog", shop / "catalog").exit_code == 2
    done = ran("check", path, "--catalog", shop / "catalog", "--json")
    assert done.exit_code == 2
    (fault,) = json.loads(done.stdout)["errors"]
    assert fault["field"] == "rules 'hero' and 'no-cheese'"


def test_each_fault_has_a_line(shop: Path) -> None:
    done = ran("check", document(shop, PIN | {"position": 0}, CHEESE | {"products": {}}))
    assert done.exit_code == 2
    assert len(done.stderr.splitlines()) == 2
    assert "rule 'hero'.position" in done.stderr


def test_what_has_no_effect_is_a_warning(shop: Path) -> None:
    rules = [
        CHEESE | {"products": {"brands": ["z"], "ids": [77]}},
        {"id": "fresh", "effect": "min_new", "share": 0.5, "among": 5, "days": 10},
    ]
    done = ran("check", document(shop, *rules), "--catalog", shop / "catalog")
    assert done.exit_code == 0
    assert "no 'z'" in done.stderr
    assert "77" in done.stderr
    assert "first_seen_day" in done.stderr
    assert "3 warnings" in done.stdout


def test_without_a_folder_of_versions_it_says_which_setting_is_missing(shop: Path) -> None:
    done = ran("apply", document(shop, PIN))
    assert isinstance(done.exception, RacksortError)
    assert "RACKSORT_RULES_DIR" in str(done.exception)


def test_a_moment_without_a_zone_is_refused(shop: Path) -> None:
    done = ran("preview", document(shop, PIN), "--catalog", shop / "catalog", "--at", "2026-11-27T09:00:00")
    assert isinstance(done.exception, RacksortError)
    assert "--at" in str(done.exception)


def test_help_of_every_command_has_examples() -> None:
    for command in ("check", "preview", "apply", "rollback", "status"):
        assert f"racksort rules {command}" in ran(command, "--help").output
