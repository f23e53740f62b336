"""``racksort loadtest``: load on a running server, and what it must hold."""

from __future__ import annotations

import typer

from racksort.commands.loadtest import gate, open_loop, peers, prepare, run

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def about() -> None:
    """Replay shopping against a running server on this machine, and judge what came of it.

    Examples:
        racksort loadtest run --shape hold --rate 1000 --seconds 20 --result var/loadtest/run.json

        racksort loadtest gate --min-rate 1000 --p99 50ms --max-errors 0 var/loadtest/run.json

        racksort loadtest open-loop --rate 2000 --seconds 20
    """


app.command("prepare")(prepare.command)
app.command("run")(run.command)
app.command("gate")(gate.command)
app.command("open-loop")(open_loop.command)
app.command("peers")(peers.command)
