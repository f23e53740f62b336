"""``racksort dev scale``: what a release costs at millions of customers."""

from __future__ import annotations

import typer

from racksort.commands.scale import make, measure

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def about() -> None:
    """Make releases of any size and measure what they cost."""


app.command("make")(make.command)
app.command("measure")(measure.command)
