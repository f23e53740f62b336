"""The command line ``racksort``: one verb per job, one file per verb in ``racksort.commands``."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable
from typing import Final

import typer
from rich.console import Console

from api.errors import StartupError
from ensemble.errors import RacksortError

VERBS: Final = ("serve", "prepare", "train", "evaluate", "configs", "bench")
"""In the order of help. A verb's module imports what is heavy when it runs, so that none waits for another's."""

app = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def root() -> None:
    """Personalised, sorted product containers in real time."""


def _help(command: Callable[..., None]) -> str:
    """The docstring, with its examples kept line by line (every other paragraph is filled)."""
    paragraphs = inspect.cleandoc(command.__doc__ or "").split("\n\n")
    return "\n\n".join(f"\b\n{text}" if text.startswith(("Examples:", "    ")) else text for text in paragraphs)


for _verb in VERBS:
    _command = importlib.import_module(f"racksort.commands.{_verb}").command
    app.command(_verb, help=_help(_command), short_help=inspect.cleandoc(_command.__doc__).partition("\n")[0])(_command)


def main() -> None:
    """Run the command line; what a person can mend is one line on stderr and exit status 2."""
    try:
        app()
    except (RacksortError, StartupError) as error:
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"racksort: {error}", style="red", markup=False)
        sys.exit(2)
