"""A verb may be a group of commands, whose help keeps examples line by line as every verb's does."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from racksort.cli import app


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--help"], "  dev       Servers for development and tests, on this machine alone."),
        (["dev", "--help"], "      racksort dev elasticsearch\n"),
        (
            ["dev", "elasticsearch", "--help"],
            "  Examples:\n      racksort dev elasticsearch\n\n      racksort dev elas",
        ),
    ],
)
def test_help_has_summaries_and_examples(arguments: list[str], said: str) -> None:
    shown = CliRunner().invoke(app, arguments)
    assert shown.exit_code == 0
    assert said in shown.output
