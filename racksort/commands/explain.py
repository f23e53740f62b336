"""``racksort explain``: why a running server shows what it shows."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.console import Console

from racksort.explaining import ask, table

URL = "http://127.0.0.1:8080"


def command(
    container: Annotated[str, typer.Argument(help="Id of a container, such as deals.")],
    customer: Annotated[
        int | None, typer.Option(min=0, help="Customer to rank for; a new one where not given.")
    ] = None,
    why_not: Annotated[
        int | None, typer.Option("--why-not", min=1, metavar="PRODUCT", help="Also say why this product isn't shown.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=100, help="Products of the page.")] = 24,
    category: Annotated[str | None, typer.Option(help="Slug of a category to narrow the container to.")] = None,
    url: Annotated[str, typer.Option(help="Where the server listens.")] = URL,
    as_json: Annotated[bool, typer.Option("--json", help="Print the server's answer as it is.")] = False,
) -> None:
    """Show how each product of a page came to its place, asking a running server.

    Exit status 2 where the server can't be reached or refuses.

    Examples:
        racksort explain deals --customer 1

        racksort explain popular --customer 1 --why-not 1082185

        racksort explain deals --json --url http://10.0.0.5:8080
    """
    body = ask(url, container, customer_id=customer, why_not=why_not, limit=limit, category=category)
    if as_json:
        typer.echo(json.dumps(body, indent=2))
        return
    console = Console(highlight=False)
    console.print(table(body))
    if body["degraded"]:
        console.print(f"degraded ({', '.join(body['degraded_reasons'])}): the order comes from {body['source']}")
    if body["why_not"] is not None:
        console.print(f"product {body['why_not']['product_id']}: {body['why_not']['detail']}", markup=False)
