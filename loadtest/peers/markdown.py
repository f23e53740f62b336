"""A comparison as Markdown, for docs/peers.md."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence

from loadtest.peers.measured import P99_BOUND_MS, POOLS, Comparison


def text(came: Comparison) -> str:
    """Each server's best and settings, every run, and what couldn't be measured."""
    machine = came.machine
    about = f"{machine['cores']} cores that load and servers share, {machine['seconds']} s a run"
    parts = [
        f"{about}, load average of the machine before it {machine['load_before']}.",
        f"Best requests/s at p99 under {P99_BOUND_MS:.0f} ms, closed loop, no error:",
        _table(
            ("server", *(column for pools in POOLS for column in (pools, "racksort is")), "settings"),
            (_best(came, server) for server in came.servers),
        ),
        "Every run:",
        _table(
            ("server", "pools", "load", "requests/s", "mean ms", "p50 ms", "p99 ms", "errors", "CPU µs a request"),
            (
                (
                    *(point.server, point.pools),
                    f"{point.load:,.0f} connections" if point.loop == "closed" else f"{point.load:,.0f}/s, open",
                    f"{point.rate:,.0f}",
                    *(f"{each:,.1f}" for each in (point.mean_ms, point.p50_ms, point.p99_ms)),
                    *(f"{point.errors:,}", f"{point.cpu_us:,.0f}"),
                )
                for point in came.points
            ),
        ),
        *(f"{server} isn't measured: {why}" for server, why in came.failed.items()),
    ]
    return "\n\n".join(parts) + "\n"


def _best(came: Comparison, server: str) -> Sequence[str]:
    cells = [server]
    for pools in POOLS:
        best, ratio = came.best(server, pools), came.ratio(server, pools)
        cells += [
            "none" if math.isnan(best) else f"{best:,.0f}",
            "-" if math.isnan(ratio) else f"{ratio:.2f} x",
        ]
    settings = came.settings.get(server, {})
    return [*cells, ", ".join(f"`{name}` {json.dumps(value)}" for name, value in settings.items())]


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
