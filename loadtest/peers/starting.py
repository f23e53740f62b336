"""Starts a peer on loopback and ends all of its processes with the block."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from loadtest.peers import environments, shop
from loadtest.peers.known import Peer, Settings
from loadtest.servers import Server, running

_START_S: Final = 180.0
"""Ray starts a dozen processes."""


@contextmanager
def started(
    peer: Peer,
    settings: Settings,
    pools: Path,
    repository: Path,
    environments_folder: Path = environments.FOLDER,
    *,
    ready_path: str | None = None,
) -> Iterator[Server]:
    """The peer, ready; its environment must have been made.

    Raises:
        RacksortError: it ended or wasn't ready in time; names its last line of output.
    """
    python = sys.executable
    if peer.environment:
        python = str(environments.python_of(peer.environment, environments_folder).absolute())
    with tempfile.TemporaryDirectory(prefix="racksort-peer-", ignore_cleanup_errors=True) as folder:
        variables = {
            "PYTHONPATH": str(environments.ROOT),
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            shop.POOLS: str(pools.absolute()),
            shop.REPOSITORY: str(repository.absolute()),
            shop.SETTINGS: json.dumps(settings),
            shop.FOLDER: folder,
            **peer.variables(Path(folder), settings),
        }
        with running(
            lambda port: peer.command(python, port, settings),
            ready_path or peer.ready_path,
            environment=variables,
            start_timeout_s=_START_S,
        ) as server:
            yield server
