"""``racksort dev``: servers for development and tests, generated files, and the autoscalers' simulation."""

from __future__ import annotations

import json
import shlex
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from ensemble.errors import RacksortError
from racksort.commands import scale
from racksort.commands.numbers import counts

if TYPE_CHECKING:
    from racksort.dev.elasticsearch_server import EmbeddedElasticsearch

app = typer.Typer(no_args_is_help=True)
app.add_typer(scale.app, name="scale")


@app.callback()
def root() -> None:
    """Servers for development and tests, on this machine alone; and files that are generated.

    Examples:
        racksort dev elasticsearch

        racksort dev valkey

        racksort dev monitoring --check

        racksort dev scaling

        racksort dev capacity

        racksort dev scale make --customers 50000

        racksort dev scale containers

        racksort dev scale replicas
    """


@app.command()
def monitoring(
    write: Annotated[bool, typer.Option("--write", help="Write the files that differ.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Change nothing; fail if a file differs.")] = False,
    folder: Annotated[Path, typer.Option(help="The folder with alerts.yaml.")] = Path("k8s/monitoring"),
) -> None:
    """Write or check the Grafana dashboard and the Prometheus operator's rules, which are generated.

    Examples:
        racksort dev monitoring --write

        racksort dev monitoring --check
    """
    from racksort.dev.monitoring import files  # noqa: PLC0415 - a verb's imports wait until it runs

    if write == check:
        raise RacksortError("dev monitoring: give either --write or --check")
    if write:
        for path in files.write(folder):
            typer.echo(f"wrote {path}")
    elif differing := files.stale(folder):
        raise RacksortError(f"{differing[0]} isn't what is generated: run `racksort dev monitoring --write`")
    else:
        typer.echo("the dashboard and the rules are what is generated")


@app.command()
def scaling(
    search: Annotated[bool, typer.Option("--search", help="Look for better figures, step by step; minutes.")] = False,
    plot: Annotated[
        Path | None, typer.Option(help="File for a picture of the first day, such as docs/scaling.svg.")
    ] = None,
    folder: Annotated[Path, typer.Option(help="The folder with adapter.yaml and triton.yaml.")] = Path(
        "k8s/components/autoscaling"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Simulate the autoscalers through days with spikes, a lost node and a costly hour, and compare other rules.

    Kubernetes' own algorithm over pods as queues, by measured capacity; the same figures on every machine. Exit status
    1 where the manifests' rules break a promise, or with --search where better ones were found.

    Examples:
        racksort dev scaling

        racksort dev scaling --plot docs/scaling.svg

        racksort dev scaling --search --json
    """
    from racksort.dev.scaling import report  # noqa: PLC0415 - a verb's imports wait until it runs
    from racksort.progress import progress_bars  # noqa: PLC0415

    with progress_bars() as tell:
        found = report.run(folder, search=search, plot=plot, tell=tell)
    typer.echo(json.dumps(found.as_json(), indent=1) if as_json else found.text())
    if not found.good:
        raise typer.Exit(1)


@app.command()
def capacity(
    measured: Annotated[Path, typer.Option(help="What `racksort bench --json` printed.")] = Path("docs/capacity.json"),
    rates: Annotated[str, typer.Option(help="Requests/s to reckon with, comma separated.")] = "10000,100000,1000000",
    grids: Annotated[float, typer.Option(min=0, max=1, help="Share of the requests that are for grids.")] = 0.5,
    used: Annotated[float, typer.Option(min=0.1, max=1, help="How full the hardware may be.")] = 0.6,
    core_hour: Annotated[float, typer.Option(min=0, help="Price of a core for an hour, in your currency.")] = 0.05,
    plot: Annotated[Path | None, typer.Option(help="File for a picture, such as docs/capacity.svg.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Reckon the hardware for a rate from a benchmark, and simulate that benchmark's machine to see how well it does.

    Examples:
        racksort bench --no-peers --no-elasticsearch --connections 8,64,256 --grid-connections 8,128 --json > b.json

        racksort dev capacity --measured b.json --rates 4000,50000 --grids 0.8 --core-hour 0.031
    """
    from racksort.dev.capacity import report  # noqa: PLC0415 - a verb's imports wait until it runs
    from racksort.dev.capacity.nodes import Assumed  # noqa: PLC0415
    from racksort.progress import progress_bars  # noqa: PLC0415

    asked = counts(rates, "--rates", "4000,50000")
    with progress_bars() as tell:
        found = report.run(measured, asked, Assumed(used=used, grids=grids, core_hour=core_hour), tell)
        if plot is not None:
            from racksort.dev.capacity.plot import draw  # noqa: PLC0415 - matplotlib is only there for development

            draw(found, plot, tell)
    typer.echo(json.dumps(found.as_json(), indent=1) if as_json else found.text())


@app.command()
def valkey(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes any free one.")] = 6379,
) -> None:
    """Run a real Valkey or Redis server until Ctrl-C, and print how to reach it.

    The program must be installed (apt-get install redis-server). It listens on 127.0.0.1, and nothing stays of it.

    Examples:
        racksort dev valkey

        racksort dev valkey --port 0
    """
    from racksort.dev.valkey_server import EmbeddedValkey  # noqa: PLC0415 - a verb's imports wait until it runs

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    with EmbeddedValkey(port) as server:
        print(f"export RACKSORT_EVENTS=valkey RACKSORT_VALKEY_URL={server.url}", flush=True)  # noqa: T201 - the result
        raise RacksortError(f"the server ended by itself, with status {server.wait()}")


@app.command()
def elasticsearch(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes any free one.")] = 9200,
    data: Annotated[Path | None, typer.Option(help="Folder that keeps the indices; else they end with it.")] = None,
    heap: Annotated[str, typer.Option(metavar="SIZE", help="Memory of the Java heap, such as 512m or 2g.")] = "512m",
    secured: Annotated[bool, typer.Option("--secured", help="With TLS and API keys, as in production.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON instead of exports.")] = False,
) -> None:
    """Run a real Elasticsearch until Ctrl-C, and print how to reach it.

    Fetches Elasticsearch by Maven the first time (96 MB) and keeps it in the cache. It listens on 127.0.0.1, and the
    folder of --data is all that it leaves behind. With --secured there are two API keys: one that may read the
    indices racksort-*, for serving, and one that may also change them, for loading.

    Examples:
        racksort dev elasticsearch

        racksort dev elasticsearch --port 0 --json

        racksort dev elasticsearch --data var/elasticsearch --heap 2g

        racksort dev elasticsearch --secured
    """
    from racksort.dev.elasticsearch_server import (  # noqa: PLC0415 - a verb's imports wait until it runs
        ElasticsearchOptions,
        EmbeddedElasticsearch,
        require_free,
    )
    from racksort.dev.provision import provision  # noqa: PLC0415

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    require_free(port)  # said before anything is fetched
    distribution = provision(lambda stage, fraction: None if fraction else _say(stage))
    _say("starting Elasticsearch")
    options = ElasticsearchOptions(port=port, data=data, heap=heap, secured=secured)
    with EmbeddedElasticsearch(distribution, options) as server:
        print(_as_json(server) if as_json else _exports(server), flush=True)  # noqa: T201 - the command's result
        if reason := server.wait():
            raise RacksortError(reason)


def _interrupt(number: int, _frame: FrameType | None) -> NoReturn:
    """Unwind, so that Elasticsearch ends too."""
    raise SystemExit(128 + number)


def _say(text: str) -> None:
    print(f"racksort: {text}", file=sys.stderr, flush=True)  # noqa: T201 - the command line's own voice


def _as_json(server: EmbeddedElasticsearch) -> str:
    facts = {
        "url": server.url,
        "pid": server.pid,
        "ca_cert": None if server.ca_cert is None else str(server.ca_cert),
        "reader_api_key": server.reader_key,
        "loader_api_key": server.loader_key,
    }
    return json.dumps({name: value for name, value in facts.items() if value is not None})


def _exports(server: EmbeddedElasticsearch) -> str:
    lines = [f"export ELASTICSEARCH_URL={server.url}"]
    if server.ca_cert is not None:
        lines += [
            f"export ELASTICSEARCH_CA_CERT={shlex.quote(str(server.ca_cert))}",
            "# reads racksort-*, for serving",
            f"export ELASTICSEARCH_API_KEY={server.reader_key}",
            "# changes racksort-* too, for loading",
            f"# export ELASTICSEARCH_API_KEY={server.loader_key}",
        ]
    return "\n".join(lines)
