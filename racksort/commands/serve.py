"""``racksort serve``: the whole of it in one process tree."""

from __future__ import annotations

import json
import math
import shlex
import signal
import sys
import threading
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Final, NoReturn

import typer

from ensemble.errors import RacksortError

if TYPE_CHECKING:
    from api.releases.document import Traffic
    from api.services import Services
    from ensemble.runtime.keeper import Keeper
    from ensemble.runtime.supervisor import Supervisor
    from racksort.dev.elasticsearch_server import EmbeddedElasticsearch

_FIRST_PAGE_S: Final = 30.0
"""How long a first page is waited for: a machine that starts all this may stand still for seconds."""


def command(
    host: Annotated[str | None, typer.Option(help="Address to listen on (RACKSORT_HOST; 127.0.0.1).")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on (RACKSORT_PORT; 8080).")] = None,
    triton: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="A Triton started elsewhere, instead of the embedded one.")
    ] = None,
    repository: Annotated[Path, typer.Option(help="Model repository of the embedded Triton.")] = Path(
        "model_repository"
    ),
    release: Annotated[
        int | None, typer.Option(min=1, help="Release that ranks while nothing was promoted (RACKSORT_RELEASE; 1).")
    ] = None,
    model_config_name: Annotated[
        str | None, typer.Option(help="Model configurations to use, such as gpu for configs/gpu.pbtxt.")
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            metavar="embedded|elasticsearch",
            help="Where candidates come from (RACKSORT_CATALOG; embedded). Without ELASTICSEARCH_URL, a real "
            "Elasticsearch is started and the catalog folder loaded into it.",
        ),
    ] = None,
    catalog: Annotated[
        Path | None, typer.Option(help="Catalog folder (RACKSORT_CATALOG_DIR; var/catalog), made where it is missing.")
    ] = None,
    week: Annotated[
        int | None,
        typer.Option(min=2, max=53, help="Week of the reference data that is now; the catalog is made for it."),
    ] = None,
) -> None:
    """Serve real answers: the catalog, the embedded Triton and the adapter.

    Prepares the catalog where it is missing, starts Triton on the release, waits until an inference through the whole
    path has worked, and prints a curl line. An embedded Triton that stops ranking is noticed and healed. Ctrl-C ends
    every process. Every setting of the adapter is also an environment variable RACKSORT_NAME.

    Examples:
        racksort serve

        racksort serve --port 9000 --week 50

        racksort serve --triton triton.shop.svc:8001 --catalog /srv/catalog

        racksort serve --source elasticsearch
    """
    from api.releases import store as releases  # noqa: PLC0415
    from api.server import listen, serve  # noqa: PLC0415 - a verb's imports wait until it runs
    from api.settings import Settings  # noqa: PLC0415
    from racksort.commands.prepare import ensure_catalog  # noqa: PLC0415

    if triton is not None and model_config_name is not None:
        raise RacksortError("--model-config-name is the embedded Triton's: leave it out, or start yours with it")
    settings = Settings.load(host=host, port=port, triton=triton, release=release, catalog=source, catalog_dir=catalog)
    listen(settings.host, settings.port).close()  # an address in use is said before any work is done
    signal.signal(signal.SIGTERM, _interrupt)
    own_elasticsearch = settings.catalog == "elasticsearch" and settings.elasticsearch_url is None
    if own_elasticsearch or settings.catalog == "embedded":
        ensure_catalog(settings.catalog_dir, week)
    proof: list[Services] = []
    with ExitStack() as stack:
        if own_elasticsearch:
            url = _start_elasticsearch(stack, settings.catalog_dir)
            settings = settings.model_copy(update={"elasticsearch_url": url})
        supervisor: Supervisor | None = None
        keeper: Keeper | None = None
        document: Traffic | None = None
        if "triton" not in settings.model_fields_set:
            path = settings.releases or repository / releases.NAME
            document = releases.read(path, live=settings.release)
            live = document.live
            if live != settings.release and "release" in settings.model_fields_set:
                _say(f"{path} says that release {live} is live, so that release {settings.release} isn't")
            keeper, supervisor = _start_triton(stack, repository, live, model_config_name, proof)
            settings = settings.model_copy(update={"triton": keeper.address, "releases": path})

        def opened(services: Services) -> None:
            proof.append(services)
            if supervisor is not None:
                services.metrics.follow_supervision(lambda: supervisor.status)

        serve(
            settings,
            on_ready=lambda url: _in_background(_announce, url, settings.console),
            on_open=opened,
            keeper=keeper,
            document=document,  # not read again: Triton has the release that was live then
        )


def _interrupt(number: int, _frame: FrameType | None) -> NoReturn:
    """SIGTERM before the adapter handles it itself: unwind, so that Triton ends too."""
    raise SystemExit(128 + number)


def _in_background(work: Callable[..., None], *arguments: object) -> None:
    threading.Thread(target=work, args=arguments, daemon=True).start()


def _start_triton(
    stack: ExitStack, repository: Path, release: int, config_name: str | None, proof: Sequence[Services]
) -> tuple[Keeper, Supervisor]:
    """Start Triton, supervised until the stack unwinds; returns what knows its address, which stays when it is
    restarted, and who supervises it.

    ``proof`` gets the adapter that asks this Triton, whose good calls are as good as a canary's.
    """
    from ensemble.runtime.canary import Canary  # noqa: PLC0415
    from ensemble.runtime.keeper import Keeper  # noqa: PLC0415
    from ensemble.runtime.supervisor import Supervisor  # noqa: PLC0415
    from ensemble.runtime.triton_server import EmbeddedTriton, TritonOptions  # noqa: PLC0415

    _say(f"starting Triton on release {release}")
    server = EmbeddedTriton(TritonOptions(repository=repository, releases=(release,), config_name=config_name))
    stack.enter_context(server)

    def proven() -> float:
        return max((each.readiness.last_success for each in proof), default=-math.inf)

    canary = Canary(server.address, release)
    keeper = Keeper(server, canary)
    supervisor = Supervisor(server, canary, on_event=_say, on_lost=keeper.lost, proven=proven)
    return keeper, stack.enter_context(supervisor)


def _start_elasticsearch(stack: ExitStack, catalog: Path) -> str:
    """Start a real Elasticsearch with the catalog in it; returns its URL."""
    from api.catalog.loading.load import load  # noqa: PLC0415
    from racksort.dev.elasticsearch_server import EmbeddedElasticsearch  # noqa: PLC0415
    from racksort.dev.provision import provision  # noqa: PLC0415
    from racksort.progress import progress_bars  # noqa: PLC0415

    with progress_bars() as report:
        distribution = provision(report)
    _say("starting Elasticsearch")
    server = stack.enter_context(EmbeddedElasticsearch(distribution))
    _in_background(_watch, server)
    _say(f"loading {catalog} into {server.url}")
    with progress_bars() as report:
        load(server.connection, [catalog], report=report)
    return server.url


def _watch(server: EmbeddedElasticsearch) -> None:
    """Say so when Elasticsearch ends by itself. It is there for trials, so that nothing restarts it."""
    if reason := server.wait():
        _say(f"{reason}; pools aren't refreshed any more until racksort is started again")


def _announce(base_url: str, console: bool) -> None:
    """Ask for a page over HTTP, as a client would, and print how."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy has no business on the way to us
    try:
        with direct.open(f"{base_url}/v1/containers", timeout=_FIRST_PAGE_S) as answer:
            container = next(entry for entry in json.load(answer)["containers"] if entry["size"])
        name = urllib.parse.quote(container["container_id"], safe="")
        page = f"{base_url}/v1/containers/{name}/products?customer_id=1&limit=12"
        with direct.open(page, timeout=_FIRST_PAGE_S):
            console_at = f"console at {base_url}/console, " if console else ""
            _say(f"ready; {console_at}documentation at {base_url}/docs; try:\n\n  curl {shlex.quote(page)}\n")
    except (OSError, StopIteration) as error:
        _say(f"ready at {base_url}, but a first page couldn't be had: {error or 'every container is empty'}")


def _say(text: str) -> None:
    print(f"racksort: {text}", file=sys.stderr, flush=True)  # noqa: T201 - the command line's own voice
