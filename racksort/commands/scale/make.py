"""``racksort dev scale make``: a synthetic release of any size."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer


def command(
    customers: Annotated[int, typer.Option(help="Customers with a history.")] = 100_000,
    products: Annotated[int, typer.Option(help="Products with sales.")] = 100_000,
    leaves: Annotated[int, typer.Option(help="Leaf categories.")] = 2_400,
    history: Annotated[float, typer.Option(help="Products that a customer has bought, on average.")] = 16.0,
    seed: Annotated[int, typer.Option(min=0, help="Of everything that is drawn.")] = 0,
    weights: Annotated[Path, typer.Option(help="Whose nets the release gets.")] = Path(
        "model_repository/personalize_v1/1/weights.npz"
    ),
    catalog: Annotated[
        Path | None, typer.Option(help="Catalog folder whose products are the release's first, so it can be served.")
    ] = None,
    repository: Annotated[Path, typer.Option(help="Model repository to write.")] = Path("var/scale"),
    release: Annotated[int, typer.Option(min=1, help="Number of the release.")] = 1,
    embedded: Annotated[
        bool, typer.Option("--embedded", help="Tables inside the ONNX files, whatever their size, to compare.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Make a release of made-up customers and products around the weights of a trained one.

    Most customers have few products and a few have hundreds; products sell by Zipf's law. The same numbers give the
    same release. Customers are made some at a time, so that the memory doesn't grow with their histories.

    Examples:
        racksort dev scale make --customers 50000 --catalog var/catalog --repository var/scale-50k

        racksort dev scale make --customers 5000000 --products 1000000 --repository var/scale-5m --json
    """
    from ensemble.scale.release import make_release  # noqa: PLC0415 - a verb's imports wait until it runs
    from ensemble.scale.shop import Size  # noqa: PLC0415
    from ensemble.training.weights import Trained  # noqa: PLC0415
    from racksort.progress import progress_bars  # noqa: PLC0415

    size = Size(customers, products, leaves, history, seed)
    known = catalog / "products.parquet" if catalog else None
    trained = Trained.load(weights)
    began = time.monotonic()
    with progress_bars() as report:
        make_release(size, trained, repository, release, known, embedded=embedded, progress=report)
    seconds = time.monotonic() - began
    written = sum(path.stat().st_size for path in repository.rglob("*") if path.is_file())
    if as_json:
        typer.echo(json.dumps({"repository": str(repository), "bytes": written, "seconds": round(seconds, 1)}))
    else:
        typer.echo(f"{customers:,} customers, {products:,} products: {written / 1e6:,.0f} MB in {seconds:,.0f} s")
        typer.echo(f"try it: racksort serve --repository {repository}, or racksort dev scale measure {repository}")
