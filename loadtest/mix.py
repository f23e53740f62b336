"""What replayed traffic is made of, and whether a file of it still fits."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from ensemble.errors import RacksortError
from loadtest.replay import Replay

FIRST_WEEK: Final = 47
LAST_WEEK: Final = 52
"""The reference data's test weeks."""


@dataclass(frozen=True, slots=True)
class Mix:
    """What the traffic is made of. Shares are of sessions (opened containers), not of requests."""

    seed: int = 1
    sessions: int = 80_000
    """More than the 18,061 visits of the test weeks open, so that each of them is replayed."""
    grids: float = 0.6
    """Share of sessions that open a grid; since grids scroll, a larger share of the requests."""
    categories: float = 0.15
    """Share of sessions that narrow the container to a category, where it has several."""
    new: float = 0.1
    """Share of visits by customers whom nobody knows."""
    anonymous: float = 0.2
    """Share of visits without a customer."""
    opened: float = 4.0
    """Containers that a visit opens, on average."""
    scrolled: float = 3.0
    """Pages of a grid that are looked at, on average (geometric, at most ``MAX_PAGES``)."""
    exponent: float = 1.0
    """Of Zipf's law over containers."""


def traffic_file(seed: int) -> Path:
    """Where the traffic of a seed is kept."""
    return Path(f"var/loadtest/traffic-{seed}.npz")


def described(catalog: Path, mix: Mix) -> dict[str, object]:
    """What a file of traffic says of itself.

    Raises:
        RacksortError: there is no catalog.
    """
    return {"weeks": f"{FIRST_WEEK}-{LAST_WEEK}", "catalog": fingerprint(catalog), **asdict(mix)}


def kept(path: Path, catalog: Path, mix: Mix) -> Replay | None:
    """The traffic at ``path``; None where there is none, or it is of another catalog or mix.

    Raises:
        RacksortError: there is no catalog.
    """
    wanted = described(catalog, mix)
    try:
        replay = Replay.load(path)
    except RacksortError:
        return None
    return replay if replay.about.items() >= wanted.items() else None


def fingerprint(catalog: Path) -> str:
    """Which catalog it is: a digest of its files.

    Raises:
        RacksortError: there is no catalog.
    """
    digest = hashlib.sha256()
    try:
        for name in ("catalog.json", "containers.json", "products.parquet"):
            digest.update((catalog / name).read_bytes())
    except OSError as error:
        raise RacksortError(f"{error.filename}: can't be read: racksort prepare --out {catalog}") from error
    return digest.hexdigest()[:16]
