"""``racksort release verify``: published releases, file by file, and who signed them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def command(
    repository: Annotated[
        str, typer.Argument(metavar="[PLACE]", help="Model repository: a folder, or what `publish` wrote to.")
    ] = "model_repository",
    release: Annotated[int | None, typer.Option(min=1, help="The release; else all of them.")] = None,
    public_key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Whose signature each release must have (PEM).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """See that published releases are what was published: every file, nothing else, and signed by whom it should be.

    Exit status 2 and one line for what is missing, altered or foreign. With a key, that is all that a Triton on the
    folder would load or run and that belongs to no release which verifies with it, whichever is asked for. The
    signatures are OpenSSF Model Signing's, so `model_signing verify key` verifies them too.

    Examples:
        racksort release verify

        racksort release verify model_repository --release 2 --public-key release.pub

        racksort release verify s3://bucket/models --release 2
    """
    from ensemble.releases.object_store import is_url  # noqa: PLC0415 - a verb's imports wait until it runs
    from ensemble.releases.verify import verify_repository  # noqa: PLC0415

    if is_url(repository):
        from ensemble.releases.object_publish import committed, verify_object  # noqa: PLC0415
        from ensemble.releases.object_store import open_store  # noqa: PLC0415

        store = open_store(repository)
        numbers = [each.number for each in committed(store)] if release is None else [release]
        found = [verify_object(store, number, public_key) for number in numbers]
    else:
        found = verify_repository(Path(repository), release, public_key)
    if as_json:
        results = [
            {"release": each.manifest.release, "digest": each.manifest.digest, "signed": each.signed} for each in found
        ]
        typer.echo(json.dumps(results))
        return
    for each in found:
        signed = "not signed" if not each.signed else "signed" if public_key is None else f"signed by {public_key}"
        typer.echo(
            f"release {each.manifest.release} is what was published {each.manifest.created}: "
            f"{len(each.manifest.files)} files, sha256:{each.manifest.digest}, {signed}"
        )
    if not found:
        typer.echo(f"{repository}: holds no release")
