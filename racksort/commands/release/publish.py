"""``racksort release publish``: a candidate into the model repository."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ensemble.errors import RacksortError
from ensemble.json_content import parsed
from ensemble.releases.extra import needed_for
from racksort.releasing import Place, ReleasesFile

if TYPE_CHECKING:
    from ensemble.releases.layout import Release
    from ensemble.releases.publish import Outcome
    from ensemble.releases.published import Published
    from ensemble.releases.staging import Step
    from racksort.progress import Report


def command(
    candidate: Annotated[str, typer.Argument(metavar="DIR", help="Folder that `racksort train --repository` wrote.")],
    repository: Annotated[
        str, typer.Option(metavar="DEST", help="Model repository: a folder, s3://bucket/prefix or gs://bucket/prefix.")
    ] = "model_repository",
    releases: ReleasesFile = None,
    number: Annotated[
        int | None,
        typer.Option("--as", min=1, metavar="N", help="Number that the release gets; else it keeps its own."),
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option(metavar="FILE", envvar="RELEASE_SIGNING_KEY", help="Key to sign with (PEM, elliptic curve)."),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="What `racksort release check --json` said of the candidate; else it's checked."
        ),
    ] = None,
    no_live: Annotated[
        bool, typer.Option("--no-live", help="Check it without comparing it with a live release.")
    ] = False,
    skip: Annotated[str, typer.Option(metavar="CHECKS", help="Comparisons that the check leaves out.")] = "",
    unchecked: Annotated[bool, typer.Option("--unchecked", help="Don't check; the model card says so.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Check a candidate and publish it beside what serves, whole or not at all.

    Nothing that is in the repository changes, and no traffic goes to the new release by itself. Published again, it
    says so and does nothing. In an object store each release becomes a model repository of its own, and the answer
    names the address to start Triton with.

    Examples:
        racksort release publish var/candidate

        racksort release publish var/candidate --as 4 --key release.key

        racksort release publish var/candidate --report check.json

        racksort release publish var/candidate --repository s3://bucket/models --json
    """
    from ensemble.releases.layout import release_in  # noqa: PLC0415 - a verb's imports wait until it runs
    from ensemble.releases.object_store import is_url  # noqa: PLC0415
    from ensemble.releases.publish import Publisher, accepted, publish  # noqa: PLC0415
    from racksort.progress import progress_bars  # noqa: PLC0415

    found = release_in(_folder(candidate))
    with progress_bars() as progress:
        checked = _Check(_compared(repository, releases, no_live=no_live), skip, report, progress)
        publisher = Publisher(
            metadata.version("racksort"),
            key,
            accepted if unchecked else checked,
            step=_drawn(found, progress),
        )
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


@dataclass(frozen=True, slots=True)
class _Check:
    """Whether a candidate may be published: by a report of it, or by checking it now."""

    live: Place | None
    """Where the live release is that it is compared with; None compares it with nothing."""
    skip: str
    report: Path | None
    progress: Report

    def __call__(self, candidate: Release) -> Outcome:
        """Reasons to refuse it, and the report to publish with it.

        Raises:
            RacksortError: there is no live release, or the report is another release's.
        """
        from ensemble.releases.publish import Outcome  # noqa: PLC0415

        if self.report is not None:
            return _reported(candidate, self.report)
        with needed_for("checking a release"):
            from ensemble.releases.check.options import Options  # noqa: PLC0415
            from ensemble.releases.check.run import check  # noqa: PLC0415
        from racksort.commands.release.check import live_release  # noqa: PLC0415

        options = Options(skip=frozenset(filter(None, (name.strip() for name in self.skip.split(",")))))
        live = None if self.live is None else live_release(self.live, None)
        report = check(candidate, live, options, self.progress)
        reasons = tuple(finding.line for finding in report.refusals)
        return Outcome(reasons, json.dumps(report.to_json(), indent=2).encode() + b"\n")


def _compared(repository: str, releases: Path | None, *, no_live: bool) -> Place | None:
    """Where the live release is; None where there can't be one, which is said."""
    from ensemble.releases.layout import numbers_in  # noqa: PLC0415 - a verb's imports wait until it runs
    from ensemble.releases.object_store import is_url  # noqa: PLC0415

    if no_live or is_url(repository):
        return None
    if not numbers_in(_existing(repository)):
        typer.secho(f"{repository}: holds no release yet, so the check compares with nothing", fg="yellow", err=True)
        return None
    return Place.of(Path(repository), releases, None)


def _reported(candidate: Release, path: Path) -> Outcome:
    """What a report says, if it is one of exactly these files."""
    from ensemble.releases.check.digest import digest_of  # noqa: PLC0415
    from ensemble.releases.publish import Outcome  # noqa: PLC0415

    try:
        content = path.read_bytes()
        found = parsed(content)
        digest, passed = found["digest"], found["passed"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RacksortError(f"{path}: not a report of `racksort release check --json` ({error!r})") from error
    if digest != digest_of(candidate):
        raise RacksortError(f"{path}: is a report of other files than {candidate.repository} holds; check these")
    return Outcome(() if passed is True else (f"{path} says that it didn't pass; mend what it found",), content)


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


def _drawn(release: Release, progress: Report) -> Step:
    """Draws a bar for each kind of step of which there is one for each file."""
    files, done = max(len(release.files()), 1), dict[str, int]()

    def step(name: str) -> None:
        kind = name.partition(" ")[0]
        if kind in ("copied", "uploaded"):
            done[kind] = done.get(kind, 0) + 1
            progress(kind, done[kind] / files)

    return step


def _said(published: Published, url: str) -> str:
    what = "was published already" if published.already else "is published"
    signed = "signed" if published.signed else "not signed"
    return (
        f"release {published.number} {what} in {url}: {published.files} files, {published.size / 1e6:.1f} MB, "
        f"sha256:{published.digest}, {signed}"
    )
