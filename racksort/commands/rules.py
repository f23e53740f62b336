"""``racksort rules``: the shop's rules, checked, tried out, made live and taken back."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from ensemble.errors import RacksortError

if TYPE_CHECKING:
    from api.errors import Fault
    from api.rules.document import Document
    from api.rules.store import Store
    from api.settings import Settings

app = typer.Typer(no_args_is_help=True)

DocumentFile = Annotated[Path, typer.Argument(metavar="FILE", help="Document of rules (docs/rules.md).")]
CatalogFolder = Annotated[
    Path | None, typer.Option("--catalog", help="Catalog folder (RACKSORT_CATALOG_DIR; var/catalog).")
]
StoreFolder = Annotated[Path | None, typer.Option("--dir", help="Folder of the versions (RACKSORT_RULES_DIR).")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]

_DEFAULT_PAGE: Final = Path("var/preview.html")


@app.callback()
def root() -> None:
    """The shop's rules: check a document, see what it would move, make it live, take it back.

    A document is JSON; docs/rules.md shows every effect by example. Adapters that RACKSORT_RULES_DIR points to the same
    folder go over to a new version within a second.

    Examples:
        racksort rules check rules.json

        racksort rules preview rules.json

        racksort rules apply rules.json --dir var/rules
    """


@app.command()
def check(file: DocumentFile, catalog: CatalogFolder = None, as_json: AsJson = False) -> None:
    """Say everything that is wrong with a document, and what has no effect in the catalog.

    Exit status 0 where it can be applied, warnings or not, 2 where it can't. The catalog is the one that
    RACKSORT_CATALOG names; without a catalog folder only the document itself is looked at.

    Examples:
        racksort rules check rules.json

        racksort rules check rules.json --catalog var/catalog --json

        RACKSORT_CATALOG=elasticsearch ELASTICSEARCH_URL=http://localhost:9200 racksort rules check rules.json
    """
    from racksort.checking import checked  # noqa: PLC0415 - a verb's imports wait until it runs

    with _faults_listed(as_json):
        document, warnings = checked(file, _settings(catalog))
    if as_json:
        typer.echo(json.dumps(_result(document, warnings), indent=2))
        return
    _warn(warnings)
    typer.echo(f"{file}: {_size(document)}, no contradictions, {len(warnings)} warning{'s' * (len(warnings) != 1)}")


@app.command()
def apply(
    file: DocumentFile, folder: StoreFolder = None, catalog: CatalogFolder = None, as_json: AsJson = False
) -> None:
    """Check a document, store it as the next version and make it live.

    Running adapters go over to it by themselves. Files of segments are read now and kept in the version.

    Examples:
        racksort rules apply rules.json

        racksort rules apply rules.json --dir /srv/rules --json
    """
    from racksort.checking import checked  # noqa: PLC0415

    with _faults_listed(as_json):
        settings = _settings(catalog, folder)
        store = _store(settings)
        document, warnings = checked(file, settings)
        with _writable(store):
            version = store.apply(document)
    if as_json:
        typer.echo(json.dumps({"version": version, **_result(document, warnings)}, indent=2))
        return
    _warn(warnings)
    typer.echo(f"version {version} is live: {_size(document)}")


@app.command()
def rollback(folder: StoreFolder = None, as_json: AsJson = False) -> None:
    """Make live what was live before; again for the one before that. Versions that can't be used any more are skipped.

    Examples:
        racksort rules rollback

        racksort rules rollback --dir /srv/rules
    """
    store = _store(_settings(None, folder))
    with _writable(store):
        version, skipped = store.rollback()
    if as_json:
        typer.echo(json.dumps({"version": version, "skipped": [asdict(each) for each in skipped]}))
    else:
        _warn(skipped)
        typer.echo(f"version {version} is live again" if version else "no rules are live, as before the first version")


@app.command()
def status(folder: StoreFolder = None, as_json: AsJson = False) -> None:
    """Which version is live, and which a rollback would go back to.

    Examples:
        racksort rules status

        racksort rules status --json
    """
    store = _store(_settings(None, folder))
    pointer = store.pointer()
    document = store.load(pointer.version)
    previous = pointer.before[-1] if pointer.before else None
    since = (
        None
        if (stamp := store.stamp()) is None
        else datetime.fromtimestamp(stamp[1] / 1e9, UTC).isoformat("T", "seconds")
    )
    if as_json:
        found = {"version": pointer.version, "before": previous, "live_since": since, "note": document.note}
        typer.echo(json.dumps(found | {"rules": [{"id": each.id, "effect": each.effect} for each in document.rules]}))
        return
    if not pointer.version:
        typer.echo(f"{store.folder}: no rules are live")
        return
    back = (
        "nothing was live before"
        if previous is None
        else f"before it: version {previous}"
        if previous
        else "before it: no rules"
    )
    note = f" ({document.note})" if document.note else ""
    typer.echo(f"{store.folder}: version {pointer.version}{note} since {since}, {_size(document)}; {back}")
    for rule in document.rules:
        typer.echo(f"  {rule.effect:<12} {rule.id}")


@app.command()
def preview(
    file: DocumentFile,
    requests: Annotated[
        Path | None,
        typer.Option(help="Requests to replay, one JSON object or path a line (docs/rules.md); else generated ones."),
    ] = None,
    out: Annotated[Path, typer.Option(help="The page to write.")] = _DEFAULT_PAGE,
    count: Annotated[int, typer.Option(min=1, max=10_000, help="Requests to generate, or to replay at most.")] = 200,
    seed: Annotated[int, typer.Option(help="Of the generated requests.")] = 1,
    at: Annotated[
        str | None, typer.Option(metavar="MOMENT", help="Moment whose time windows hold, ISO 8601 with a zone (now).")
    ] = None,
    folder: StoreFolder = None,
    catalog: CatalogFolder = None,
    triton: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="A Triton started elsewhere, instead of the embedded one.")
    ] = None,
    repository: Annotated[Path, typer.Option(help="Model repository of the embedded Triton.")] = Path(
        "model_repository"
    ),
    as_json: AsJson = False,
) -> None:
    """Rank requests without and with a document, and write a page that shows what would move.

    Before is what is live in the folder of versions, or no rules where there is none; nothing is applied.

    Examples:
        racksort rules preview rules.json

        racksort rules preview rules.json --requests requests.jsonl --out friday.html --at 2026-11-27T09:00:00+01:00
    """
    from racksort.checking import checked  # noqa: PLC0415
    from racksort.preview.run import Plan, run  # noqa: PLC0415 - a verb's imports wait until it runs

    with _faults_listed(as_json):
        settings = _settings(catalog, folder, triton)
        document, warnings = checked(file, settings)
        before = _live(settings)
        plan = Plan(before, document, _moment(at), requests, count, seed, repository)
        result = run(settings, plan, out, title=file.name)
    if as_json:
        typer.echo(json.dumps(result.summary() | {"page": str(out)}, indent=2))
        return
    _warn(warnings)
    typer.echo(result.said())
    typer.echo(f"side by side: {out}")


def _settings(catalog: Path | None, folder: Path | None = None, triton: str | None = None) -> Settings:
    from api.settings import Settings  # noqa: PLC0415

    return Settings.load(catalog_dir=catalog, rules_dir=folder, triton=triton)


def _store(settings: Settings) -> Store:
    from api.rules.store import Store  # noqa: PLC0415

    if settings.rules_dir is None:
        raise RacksortError("RACKSORT_RULES_DIR isn't set: name the folder of the versions with --dir")
    return Store(settings.rules_dir)


def _live(settings: Settings) -> Document:
    from api.rules.document import EMPTY  # noqa: PLC0415

    if settings.rules_dir is None:
        return EMPTY
    store = _store(settings)
    return store.load(store.pointer().version)


def _result(document: Document, warnings: tuple[Fault, ...]) -> dict[str, Any]:
    return {"valid": True, "rules": len(document.rules), "warnings": [asdict(each) for each in warnings]}


@contextmanager
def _faults_listed(as_json: bool) -> Iterator[None]:
    """Each fault on a line of its own, or as JSON; exit status 2."""
    from api.errors import RulesInvalid  # noqa: PLC0415

    try:
        yield
    except RulesInvalid as error:
        if as_json:
            faults = [asdict(fault) for fault in error.faults]
            typer.echo(json.dumps({"valid": False, "errors": faults}, indent=2))
        else:
            for fault in error.faults:
                typer.secho(f"{fault.field}: {fault.message}", fg="red", err=True)
        raise typer.Exit(2) from None


@contextmanager
def _writable(store: Store) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RacksortError(
            f"{error.filename or store.folder}: can't be written ({error.strerror}): check the path and the disk"
        ) from error


def _moment(text: str | None) -> float:
    """Unix time.

    Raises:
        RacksortError: it isn't a moment with a zone.
    """
    if text is None:
        return time.time()
    with suppress(ValueError):
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return moment.timestamp()
    raise RacksortError(f"--at {text!r}: isn't a moment with a zone: write it as 2026-11-27T09:00:00+01:00")


def _warn(warnings: tuple[Fault, ...]) -> None:
    for each in warnings:
        typer.secho(f"warning: {each.field}: {each.message}", fg="yellow", err=True)


def _size(document: Document) -> str:
    count = len(document.rules)
    return "1 rule" if count == 1 else f"{count} rules"
