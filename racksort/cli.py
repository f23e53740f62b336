"""The command line ``racksort``: one verb per job, one file per verb in ``racksort.commands``."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable
from typing import Final

import click
import typer
import typer.main
from rich.console import Console

from api.errors import StartupError
from ensemble.errors import RacksortError

VERBS: Final = {
    "serve": "Serve real answers: embedded Triton and the adapter, or the adapter alone.",
    "prepare": "Build the catalog of products and containers.",
    "train": "Train the three models and write a release.",
    "evaluate": "Measure ranking quality on held-out weeks against the baselines.",
    "configs": "Write or check the config.pbtxt files of the model repository.",
    "bench": "Measure requests/s and latencies of the whole path.",
}


class LazyGroup(typer.core.TyperGroup):
    """Imports a verb's module when the verb is used, so that serving never waits for training's imports."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """The verbs, in the order of use."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The verb's command, or None where there is no such verb."""
        if cmd_name not in VERBS:
            return None
        module = importlib.import_module(f"racksort.commands.{cmd_name}")
        verb = typer.Typer(add_completion=False, rich_markup_mode=None)
        verb.command(cmd_name, help=_help(module.command))(module.command)
        command = typer.main.get_command(verb)
        command.name = cmd_name
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """The verbs with a line each, without importing them."""
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))


def _help(command: Callable[..., None]) -> str:
    """The docstring, with its examples kept line by line (click fills every other paragraph)."""
    paragraphs = inspect.cleandoc(command.__doc__ or "").split("\n\n")
    return "\n\n".join(f"\b\n{text}" if text.startswith(("Examples:", "    ")) else text for text in paragraphs)


app = typer.Typer(cls=LazyGroup, add_completion=False, no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def root() -> None:
    """Personalised, sorted product containers in real time."""


def main() -> None:
    """Run the command line; what a person can mend is one line on stderr and exit status 2."""
    try:
        app()
    except (RacksortError, StartupError) as error:
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"racksort: {error}", style="red")
        sys.exit(2)
