"""The command line ``racksort``: one verb per job, one file per verb in ``racksort.commands``."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable
from typing import Final, NoReturn

import typer
from rich.console import Console

from api.errors import StartupError
from ensemble.errors import RacksortError
from racksort.extras import extras_with

VERBS: Final = (
    "serve",
    "explain",
    "probe",
    "prepare",
    "catalog",
    "precompute",
    "rules",
    "train",
    "release",
    "evaluate",
    "configs",
    "bench",
    "soak",
    "loadtest",
    "dev",
)
"""In the order of help. A verb's module imports what is heavy when it runs, so that none waits for another's."""

app = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def root() -> None:
    """Personalised, sorted product containers in real time."""


def _help(command: Callable[..., None]) -> str:
    """The docstring, with its examples kept line by line (every other paragraph is filled)."""
    paragraphs = inspect.cleandoc(command.__doc__ or "").split("\n\n")
    return "\n\n".join(f"\b\n{text}" if text.startswith(("Examples:", "    ")) else text for text in paragraphs)


def _summary(command: Callable[..., None]) -> str:
    return inspect.cleandoc(command.__doc__ or "").partition("\n")[0]


def _register(verb: str) -> None:
    """Add a verb: its module has a ``command``, or a typer ``app`` of several with a callback that describes it."""
    module = importlib.import_module(f"racksort.commands.{verb}")
    group: typer.Typer | None = getattr(module, "app", None)
    if group is None:
        app.command(verb, help=_help(module.command), short_help=_summary(module.command))(module.command)
        return
    for entry in group.registered_commands:
        if entry.callback is not None:
            entry.help, entry.short_help = _help(entry.callback), _summary(entry.callback)
    described = group.registered_callback
    about = described.callback if described is not None else None
    app.add_typer(group, name=verb, help=about and _help(about), short_help=about and _summary(about))


for _verb in VERBS:
    _register(_verb)


def main() -> None:
    """Run the command line; what a person can mend is one line on stderr and exit status 2."""
    try:
        app()
    except (RacksortError, StartupError) as error:
        _refuse(str(error))
    except ModuleNotFoundError as error:
        extras = extras_with(error.name or "")
        if not extras:  # a defect: nothing that the user could install
            raise
        _refuse(f"this needs the Python package {error.name}: install racksort[{extras[0]}]")


def _refuse(text: str) -> NoReturn:
    Console(stderr=True, highlight=False, soft_wrap=True).print(f"racksort: {text}", style="red", markup=False)
    sys.exit(2)
