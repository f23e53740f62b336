"""A verb may be a group of commands, whose help keeps examples line by line as every verb's does."""

from __future__ import annotations

import re

import pytest
from typer.testing import CliRunner

from racksort.cli import app


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--help"], r"\n  dev +Servers for development and tests"),
        (["dev", "--help"], r"      racksort dev elasticsearch\n"),
        (
            ["dev", "valkey", "--help"],
            r"  Examples:\n      racksort dev valkey\n\n      racksort dev valkey --port 0\n",
        ),
        (
            ["dev", "elasticsearch", "--help"],
            r"  Examples:\n      racksort dev elasticsearch\n\n      racksort dev elas",
        ),
    ],
)
def test_help_has_summaries_and_examples(arguments: list[str], said: str) -> None:
    shown = CliRunner().invoke(app, arguments)
    assert shown.exit_code == 0
    assert re.search(said, shown.output)
