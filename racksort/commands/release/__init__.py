"""``racksort release``: a release's way from a folder into traffic and back."""

from __future__ import annotations

import typer

from racksort.commands.release import canary, check, gc, promote, publish, rollback, shadow, status, verify

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def about() -> None:
    """Check, publish, try out, promote and roll back releases."""


app.command("check")(check.command)
app.command("publish")(publish.command)
app.command("verify")(verify.command)
app.command("gc")(gc.command)
app.command("canary")(canary.command)
app.command("shadow")(shadow.command)
app.command("promote")(promote.command)
app.command("rollback")(rollback.command)
app.command("status")(status.command)
