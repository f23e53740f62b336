"""``racksort dev scale``: what customers, containers and replicas cost."""

from __future__ import annotations

import typer

from racksort.commands.scale import containers, make, measure, replicas

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def about() -> None:
    """Make releases of any size, and measure what they, thousands of containers and more replicas cost."""


app.command("containers")(containers.command)
app.command("make")(make.command)
app.command("measure")(measure.command)
app.command("replicas")(replicas.command)
