"""``racksort precompute``: every known customer's lists, ranked ahead for the time when the ensemble can't answer."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn

import typer

from ensemble.errors import RacksortError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from rich.progress import Progress

    from api.fallback.job import Made
    from api.fallback.publish import Published
    from api.fallback.pull import Pulled
    from api.settings import Settings

DEFAULT_OUT: Final = Path("var/precomputed")
_MAX_ID: Final = 2**63 - 1


class Source(Enum):
    """Where the lists come from."""

    ranking = "ranking"
    files = "files"
    elasticsearch = "elasticsearch"


class Target(Enum):
    """Where the lists go to."""

    files = "files"
    elasticsearch = "elasticsearch"


def command(
    catalog: Annotated[
        Path | None, typer.Option(help="Catalog folder (RACKSORT_CATALOG_DIR; var/catalog), made where it is missing.")
    ] = None,
    triton: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="A Triton started elsewhere, instead of the embedded one.")
    ] = None,
    repository: Annotated[Path, typer.Option(help="Model repository of the embedded Triton.")] = Path(
        "model_repository"
    ),
    release: Annotated[int | None, typer.Option(min=1, help="Release that ranks (RACKSORT_RELEASE; 1).")] = None,
    customers: Annotated[
        Path | None,
        typer.Option(
            help="Known customers: one id a line, or .parquet or .csv with customer_id (the reference data's)."
        ),
    ] = None,
    products: Annotated[int, typer.Option(min=1, max=1_024, help="Products of a list, at most.")] = 60,
    out: Annotated[Path, typer.Option(help="Folder of the store.")] = DEFAULT_OUT,
    source: Annotated[
        Source, typer.Option("--from", help="Rank the lists; or take those at --out, or those in Elasticsearch.")
    ] = Source.ranking,
    to: Annotated[Target, typer.Option(help="Into files at --out; or from there into Elasticsearch as well.")] = (
        Target.files
    ),
    check: Annotated[bool, typer.Option("--check", help="Only verify every byte of the store at --out.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Rank the lists of all known customers, so that they have their own even while the ensemble can't answer.

    Until the new lists are complete, the ones before stay in use. A run that was broken off goes on where it was, as
    long as release, catalog and customers are the same. Adapters go over to the new lists by themselves.

    One machine ranks and publishes, the others pull. ELASTICSEARCH_URL says where Elasticsearch is; publishing needs an
    ELASTICSEARCH_API_KEY with all privileges on racksort-* and manage_index_templates, pulling one that may read.

    Examples:
        racksort precompute

        racksort precompute --customers customers.txt --triton triton.shop.svc:8001

        racksort precompute --to elasticsearch

        racksort precompute --from elasticsearch

        racksort precompute --check
    """
    if check:
        with _told(out):
            _check(out, as_json)
        return
    if source.value == to.value:
        raise RacksortError(f"--from {source.value} --to {to.value}: the lists are there already: name another --to")
    done: dict[str, Any] = {}
    said = []
    with _interruptible(), ExitStack() as stack:
        settings = _settings(triton, release, catalog)
        if source is Source.ranking:
            made = _precompute(stack, settings, repository, customers, products, out)
            done |= asdict(made)
            said.append(
                f"{made.generation}: {made.lists:,} lists of {made.customers:,} customers, {made.ranked:,} of them "
                f"ranked in {made.seconds:.1f} s ({made.lists_per_s:,.0f}/s), and one list for everybody of "
                f"{made.for_everybody:,} containers; {made.bytes:,} bytes, {made.bytes_per_list:.1f} a list"
            )
        elif source is Source.elasticsearch:
            pulled = _pull(settings, out)
            done |= asdict(pulled)
            said.append(
                f"{pulled.generation}: lists of {pulled.customers:,} customers from {pulled.index}, {pulled.pulled:,} "
                f"of them pulled in {pulled.seconds:.1f} s; made {(time.time() - pulled.created_at) / 3_600:.1f} h ago"
            )
        if to is Target.elasticsearch:
            published = _publish(settings, out)
            done["published"] = asdict(published)
            before = f"the version before is {published.previous}" if published.previous else "there was none before"
            said.append(
                f"{published.index} is live: lists of {published.customers:,} customers in {published.seconds:.1f} s, "
                f"{published.bytes_per_customer:,.0f} bytes each; {before}"
            )
    typer.echo(json.dumps(done, indent=2) if as_json else "\n".join(said))


def _settings(triton: str | None, release: int | None, catalog: Path | None) -> Settings:
    from api.settings import Settings  # noqa: PLC0415

    return Settings.load(triton=triton, release=release, catalog_dir=catalog)


def _precompute(
    stack: ExitStack, settings: Settings, repository: Path, customers: Path | None, products: int, out: Path
) -> Made:
    from api.fallback.job import rank_all  # noqa: PLC0415
    from ensemble.runtime.triton_server import EmbeddedTriton, TritonOptions  # noqa: PLC0415
    from racksort.commands.prepare import ensure_catalog  # noqa: PLC0415
    from racksort.releasing import with_live_release  # noqa: PLC0415

    if settings.catalog == "embedded":
        ensure_catalog(settings.catalog_dir)
    known = _known_customers(settings, customers)
    settings = with_live_release(settings, repository)
    if "triton" not in settings.model_fields_set:
        _say(f"starting Triton on release {settings.release}")
        server = EmbeddedTriton(TritonOptions(repository=repository, releases=(settings.release,)))
        stack.enter_context(server)
        settings = settings.model_copy(update={"triton": server.address})
    with _told(out), _progress() as bar:
        shown = bar.add_task("ranking", total=None)
        job = rank_all(
            settings, known, products, out, lambda done, total: bar.update(shown, completed=done, total=total)
        )
        return asyncio.run(job)


def _publish(settings: Settings, out: Path) -> Published:
    from api.fallback.publish import publish  # noqa: PLC0415

    with _told(out), _progress("{task.speed:,.0f} customers/s") as bar:
        shown = bar.add_task("publishing", total=None)
        return publish(
            settings.connection,
            out,
            report=lambda done, total: bar.update(shown, completed=done, total=total),
            say=_say,
        )


def _pull(settings: Settings, out: Path) -> Pulled:
    from api.fallback.pull import pull  # noqa: PLC0415

    with _told(out), _progress("{task.speed:,.0f} customers/s") as bar:
        shown = bar.add_task("pulling", total=None)
        return pull(settings.connection, out, report=lambda done, total: bar.update(shown, completed=done, total=total))


def _check(out: Path, as_json: bool) -> None:
    from api.fallback.check import verify  # noqa: PLC0415

    with _progress("{task.speed:,.0f} customers/s") as bar:
        shown = bar.add_task("verifying", total=None)
        generation = verify(out, lambda done, total: bar.update(shown, completed=done, total=total))
    header = generation.header
    age = time.time() - header.created_at
    own = sum(each.places > 0 for each in header.containers)
    for_everybody = len(header.containers) - own
    if as_json:
        counts = {"customers": header.customers, "containers": own, "for_everybody": for_everybody}
        found = {"generation": str(generation.folder), "release": header.release, "age_s": age, **counts}
        typer.echo(json.dumps(found, indent=2))
        return
    typer.echo(
        f"{generation.folder}: whole; {own} lists of {header.customers:,} customers each, ranked by {header.release} "
        f"{age / 3_600:.1f} h ago, and one list for everybody of {for_everybody} containers"
    )


def _known_customers(settings: Settings, path: Path | None) -> npt.NDArray[np.int64]:
    """Ids, ascending.

    Raises:
        RacksortError: nothing says who is known, or the file isn't what it should be.
    """
    from ensemble.data import catalog, dataset  # noqa: PLC0415

    if path is not None:
        return _read_customers(path)
    info = catalog.read_info(settings.catalog_dir) if settings.catalog == "embedded" else None
    if info is None or info.source != dataset.REFERENCE_SOURCE:
        place = settings.catalog_dir if settings.catalog == "embedded" else "Elasticsearch"
        raise RacksortError(
            f"{place}: isn't the reference data's catalog, so nothing says which customers are known: give their ids "
            "with --customers FILE"
        )
    found: npt.NDArray[np.int64] = dataset.load().purchases["customer_id"].unique().sort().to_numpy()
    return found


def _read_customers(path: Path) -> npt.NDArray[np.int64]:
    import numpy as np  # noqa: PLC0415
    import polars as pl  # noqa: PLC0415

    from ensemble.data.tables import Column, read_table  # noqa: PLC0415

    if path.suffix in {".parquet", ".csv"}:
        ids = read_table(path, [Column("customer_id", pl.Int64, "the customer")])["customer_id"].to_list()
    else:
        ids = _read_lines(path)
    if not ids or not 1 <= min(ids) <= max(ids) <= _MAX_ID:
        what = f"holds the customer {min(ids) if min(ids) < 1 else max(ids)}" if ids else "holds no customer"
        raise RacksortError(f"{path}: {what}: ids are whole numbers from 1 to {_MAX_ID}")
    return np.unique(np.array(ids, np.int64))


def _read_lines(path: Path) -> list[int]:
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RacksortError(f"{path}: can't be read ({error}): give a file with one customer id a line") from error
    ids = []
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if text and not (text.isascii() and text.isdigit() and len(text) <= 19):
            raise RacksortError(f"{path}: line {number} is {text[:40]!r}: write one customer id a line")
        if text:
            ids.append(int(text))
    return ids


@contextmanager
def _progress(speed: str = "{task.speed:,.0f} lists/s") -> Iterator[Progress]:
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    class Speed(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(speed.format(task=task) if task.speed else "")

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"), Speed())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
        yield bar


@contextmanager
def _told(out: Path) -> Iterator[None]:
    """Errors of the adapter's parts as the command line's own."""
    from api.errors import AdapterError, StartupError  # noqa: PLC0415

    try:
        yield
    except StartupError:
        raise
    except AdapterError as error:
        raise RacksortError(str(error)) from error
    except OSError as error:
        raise RacksortError(
            f"{error.filename or out}: can't be written ({error.strerror}): make that possible, then the same command "
            "goes on where it was"
        ) from error


@contextmanager
def _interruptible() -> Iterator[None]:
    """Unwind on SIGTERM, so that Triton ends too; Ctrl-C does by itself."""
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


def _say(text: str) -> None:
    print(f"racksort: {text}", file=sys.stderr, flush=True)  # noqa: T201 - the command line's own voice
