"""``racksort configs``: write or check the model repository's config files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ensemble.errors import RacksortError


def command(
    write: Annotated[bool, typer.Option("--write", help="Write the files that differ.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Change nothing; fail if a file differs.")] = False,
    repository: Annotated[Path, typer.Option(help="The model repository.")] = Path("model_repository"),
    release: Annotated[int, typer.Option(min=1, help="Number of the release whose ensemble is written.")] = 1,
) -> None:
    """Write or check the config.pbtxt files of the model repository, which are generated from the tensor contract."""
    from ensemble import configs  # noqa: PLC0415 - a verb's imports wait until it runs

    if write == check:
        raise RacksortError("configs: give either --write or --check")
    if not repository.is_dir():
        raise RacksortError(f"{repository}: no such folder; name the model repository with --repository")
    files = configs.regenerate(repository, release)
    if check:
        if differing := configs.stale(repository, files):
            raise RacksortError(
                f"{repository / differing[0]} differs from the contract: run `racksort configs --write`"
            )
        typer.echo(f"{len(files)} config files agree with the contract")
        return
    for path in configs.write(repository, files):
        typer.echo(f"wrote {repository / path}")
