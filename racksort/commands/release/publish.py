"""``racksort release publish``: a candidate into the model repository."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ensemble.errors import RacksortError

if TYPE_CHECKING:
    from ensemble.releases.layout import Release
    from ensemble.releases.publish import Outcome, Published
    from ensemble.releases.staging import Step


def command(
    candidate: Annotated[str, typer.Argument(metavar="DIR", help="Folder that `racksort train --repository` wrote.")],
    repository: Annotated[
        str, typer.Option(metavar="DEST", help="Model repository: a folder, s3://bucket/prefix or gs://bucket/prefix.")
    ] = "model_repository",
    number: Annotated[
        int | None,
        typer.Option("--as", min=1, metavar="N", help="Number that the release gets; else it keeps its own."),
    ] = None,
    release: Annotated[int | None, typer.Option(min=1, help="Which release of DIR, where there are several.")] = None,
    key: Annotated[
        Path | None,
        typer.Option(metavar="FILE", envvar="RELEASE_SIGNING_KEY", help="Key to sign with (PEM, elliptic curve)."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Check a candidate and publish it beside what serves, whole or not at all.

    Nothing that is in the repository changes, and no traffic goes to the new release by itself. Published again, it
    says so and does nothing. In an object store each release becomes a model repository of its own, and the answer
    names the address to start Triton with.

    Examples:
        racksort release publish var/candidate

        racksort release publish var/candidate --as 4 --key release.key

        racksort release publish var/candidate --repository s3://bucket/models --json
    """
    from ensemble.releases.layout import release_in  # noqa: PLC0415 - a verb's imports wait until it runs
    from ensemble.releases.object_store import is_url  # noqa: PLC0415
    from ensemble.releases.publish import Publisher, publish  # noqa: PLC0415

    found = release_in(_folder(candidate), release)
    with _told(found) as step:
        publisher = Publisher(metadata.version("racksort"), key, _checked, step=step)
        if is_url(repository):
            from ensemble.releases.object_publish import publish_object  # noqa: PLC0415 - loads the store's client
            from ensemble.releases.object_store import open_store  # noqa: PLC0415

            published, url = publish_object(found, open_store(repository), publisher, number)
        else:
            published, url = publish(found, _existing(repository), publisher, number), repository
    if as_json:
        typer.echo(json.dumps(asdict(published) | {"repository": url}))
        return
    typer.echo(_said(published, url))
    if not published.signed:
        typer.secho("it isn't signed: give --key to sign what others are to trust", fg="yellow", err=True)
    if is_url(repository):
        typer.echo(f"serve it with: tritonserver --model-repository={url}")


def _checked(candidate: Release) -> Outcome:
    """What `racksort release check` says of a candidate: reasons to refuse it, and the report to publish with it."""
    from ensemble.releases.publish import unchecked  # noqa: PLC0415

    return unchecked(candidate)


def _folder(candidate: str) -> Path:
    if candidate.startswith(("mlflow:", "models:/")):
        uri = candidate.removeprefix("mlflow:")
        raise RacksortError(
            f"{candidate}: fetch it with `mlflow artifacts download --artifact-uri {uri} --dst-path FOLDER`, and "
            f"publish FOLDER"
        )
    return Path(candidate)


def _existing(repository: str) -> Path:
    folder = Path(repository)
    if not folder.is_dir():
        raise RacksortError(f"{repository}: no such folder; make it, or name the model repository with --repository")
    return folder


@contextmanager
def _told(release: Release) -> Iterator[Step]:
    """A bar for each kind of step, of which there is one for each file."""
    from racksort.progress import progress_bars  # noqa: PLC0415

    files, done = max(len(release.files()), 1), dict[str, int]()
    with progress_bars() as report:

        def step(name: str) -> None:
            kind = name.partition(" ")[0]
            if kind in ("copied", "uploaded"):
                done[kind] = done.get(kind, 0) + 1
                report(kind, done[kind] / files)

        yield step


def _said(published: Published, url: str) -> str:
    what = "was published already" if published.already else "is published"
    signed = "signed" if published.signed else "not signed"
    return (
        f"release {published.number} {what} in {url}: {published.files} files, {published.size / 1e6:.1f} MB, "
        f"sha256:{published.digest}, {signed}"
    )
