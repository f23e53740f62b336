"""``racksort dev scale``: what millions of customers and thousands of containers cost."""

from __future__ import annotations

import typer

from racksort.commands.scale import containers, make, measure

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def about() -> None:
    """Make releases of any size, and measure what they and thousands of containers cost."""


app.command("containers")(containers.command)
app.command("make")(make.command)
app.command("measure")(measure.command)
