"""The peers: how each is started, asked, and set.

``settings`` are what a run takes that isn't told to tune: what ``--tune`` found best on two cores (docs/peers.md).
``grid`` is what ``--tune`` tries: what each one's documentation says to turn, which is batch size, how long a batch may
wait, and how many processes share the cores.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, Final

from ensemble.errors import RacksortError
from ensemble.runtime import processes
from loadtest.peers import dialects
from loadtest.peers.dialects import Dialect

Settings = Mapping[str, Any]


def _nothing(_folder: Path, _settings: Settings) -> Mapping[str, str]:
    return {}


@dataclass(frozen=True, slots=True)
class Peer:
    """One way to serve the same answers."""

    key: str
    title: str
    command: Callable[[str, int, Settings], Sequence[str]]
    """Takes a Python interpreter, a port and settings."""
    settings: Settings
    grid: tuple[Settings, ...]
    ready_path: str
    dialect: Dialect = dialects.ADAPTER
    environment: str = ""
    """Name of its lock in requirements/peers; empty for racksort's own environment."""
    variables: Callable[[Path, Settings], Mapping[str, str]] = _nothing
    """Takes a folder that it may write to, which goes with it."""
    bound: bool = False
    """Whether it is what no server in between can reach, rather than a way to serve."""

    @property
    def packages(self) -> Path:
        """Its lock."""
        return Path("requirements/peers", f"{self.environment}.txt")


def _grid(**values: Sequence[Any]) -> tuple[Settings, ...]:
    return tuple(dict(zip(values, chosen, strict=True)) for chosen in product(*values.values()))


def _uvicorn(module: str) -> Callable[[str, int, Settings], Sequence[str]]:
    return lambda python, port, settings: [
        *(python, "-m", "uvicorn", "--factory", f"loadtest.peers.{module}:create_app"),
        *("--host", "127.0.0.1", "--port", str(port), "--workers", str(settings.get("workers", 1))),
        *("--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"),
    ]


def _module(module: str) -> Callable[[str, int, Settings], Sequence[str]]:
    return lambda python, port, _: [python, "-m", f"loadtest.peers.{module}", str(port)]


def _bento(python: str, port: int, _settings: Settings) -> Sequence[str]:
    service = "loadtest.peers.bento_ml:Ranking"
    return [python, "-m", "bentoml", "serve", service, "--host", "127.0.0.1", "--port", str(port)]


def _ray(_folder: Path, _settings: Settings) -> Mapping[str, str]:
    return {
        "RAY_AUTH_TOKEN": secrets.token_hex(32),  # else Ray makes one in the user's home
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_raylet_start_wait_time_s": "120",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    }


def _ray_haproxy(folder: Path, settings: Settings) -> Mapping[str, str]:
    metrics, stats = processes.claim_ports((0, "HAProxy's metrics"), (0, "HAProxy's figures"))
    haproxy = {
        "CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "SOCKET_PATH": str(folder / "admin.sock"),
        "SERVER_STATE_BASE": str(folder),
        "SERVER_STATE_FILE": str(folder / "server-state"),
        "METRICS_PORT": str(metrics),
        "STATS_PORT": str(stats),
        "METRICS_ENABLED": "0",
        "NBTHREAD": "1",
    }
    return {
        **_ray(folder, settings),
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        **{f"RAY_SERVE_HAPROXY_{name}": value for name, value in haproxy.items()},
    }


_PROBE: Final = "/v1/containers/popular/products?customer_id=1&limit=24"

_RAY: Final = Peer(
    "ray",
    "Ray Serve",
    _module("ray_serve"),
    {"max_batch_size": 64, "delay_ms": 2, "replicas": 1},
    _grid(max_batch_size=[64], delay_ms=[0, 2, 10], replicas=[1, 2]),
    _PROBE,
    environment="ray",
    variables=_ray,
)

PEERS: Final = (
    Peer(
        "bound",
        "in process (bound)",
        _uvicorn("in_process"),
        {"inline": True, "workers": 2},
        _grid(inline=[False, True], workers=[1, 2]),
        _PROBE,
        bound=True,
    ),
    Peer("fastapi", "FastAPI", _uvicorn("plain_fastapi"), {"workers": 2}, _grid(workers=[1, 2]), _PROBE),
    _RAY,
    replace(
        _RAY,
        key="ray-haproxy",
        title="Ray Serve, HAProxy",
        settings={**_RAY.settings, "replicas": 2},
        variables=_ray_haproxy,
    ),
    Peer(
        "litserve",
        "LitServe",
        _module("lit_serve"),
        {"max_batch_size": 64, "delay_ms": 1, "workers": 1, "servers": 2, "fast_queue": True},
        _grid(max_batch_size=[64], delay_ms=[1, 5], workers=[1, 2], servers=[1, 2], fast_queue=[True]),
        "/health",
        dialects.LITSERVE,
        "litserve",
    ),
    Peer(
        "bentoml",
        "BentoML",
        _bento,
        {"max_batch_size": 64, "delay_ms": 1_000, "workers": 2},
        _grid(max_batch_size=[64], delay_ms=[50, 200, 1_000], workers=[1, 2]),
        "/readyz",
        dialects.BENTOML,
        "bentoml",
        lambda folder, _: {"BENTOML_DO_NOT_TRACK": "True", "BENTOML_HOME": str(folder)},
    ),
    Peer(
        "mlserver",
        "MLServer",
        _module("ml_server"),
        {"max_batch_size": 64, "delay_ms": 5, "workers": 0},
        _grid(max_batch_size=[32, 64], delay_ms=[1, 5], workers=[0, 2]),
        "/v2/models/ranking/ready",
        dialects.INFERENCE,
        "mlserver",
    ),
    Peer("triton-single", "Triton, one call each", _uvicorn("triton_single"), {}, ({},), _PROBE),
)


def chosen(keys: str) -> tuple[Peer, ...]:
    """The peers of these keys, comma separated, in their own order.

    Raises:
        RacksortError: there is no such peer.
    """
    wanted = [key.strip() for key in keys.split(",")]
    known = {peer.key for peer in PEERS}
    if unknown := [key for key in wanted if key not in known]:
        raise RacksortError(f"no peer {unknown[0]!r}: choose from {', '.join(peer.key for peer in PEERS)}")
    return tuple(peer for peer in PEERS if peer.key in wanted)
