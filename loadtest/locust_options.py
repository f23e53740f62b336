"""What Locust's command line takes beside Locust's own."""

from __future__ import annotations

from typing import Any, Final

from locust.argument_parser import LocustArgumentParser

from ensemble.errors import RacksortError
from loadtest.lean_client import LeanClient
from loadtest.loopback import require_loopback
from loadtest.shapes import SHAPES, Asked, Curve, curve

LEAN: Final = "lean"
CLIENTS: Final = (LEAN, "fasthttp")


def add_arguments(parser: LocustArgumentParser) -> None:
    """Add ours to Locust's. Those that the web page's form may change are the parser's, the others a group's."""
    parser.add_argument("--seed", type=int, default=1, help="Seed of the traffic.")
    parser.add_argument(
        "--client", choices=CLIENTS, default=LEAN, help="Ours, cheap and plain, or Locust's FastHttpSession."
    )
    group = parser.add_argument_group("racksort")
    group.add_argument("--catalog", default="var/catalog", help="Catalog that the server serves.")
    group.add_argument(
        "--traffic",
        default="",
        help="Traffic file to use as it is (else var/loadtest/traffic-SEED.npz, made if missing).",
    )
    group.add_argument("--user-rate", type=float, default=10.0, help="Pages a second that one user asks for.")
    group.add_argument("--shape-name", choices=["", *SHAPES], default="", help="Shape of the load over time.")
    group.add_argument("--rate", type=float, default=1_000.0, help="Requests a second that a shape asks for.")
    group.add_argument("--seconds", type=float, default=20.0, help="Length of a shape, without its warm-up.")
    group.add_argument("--warm-up", type=float, default=3.0, help="Seconds before a shape that don't count.")
    group.add_argument("--factor", type=float, default=3.0, help="How many times the rate a spike is.")
    group.add_argument("--steps", type=int, default=5, help="Steps on the way to the rate of the shape 'steps'.")
    group.add_argument("--result", default="", help="File for the result, which racksort loadtest gate judges.")
    group.add_argument("--allow-remote", action="store_true", help="Load a server that isn't on this machine.")


def asked_curve(options: Any) -> Curve | None:
    """The curve of the shape; None where Locust's own users and run time hold.

    Raises:
        RacksortError: it can't be followed.
    """
    if not options.shape_name:
        return None
    asked = Asked(options.rate, options.seconds, options.warm_up, options.factor, options.steps)
    return curve(options.shape_name, asked)


def refuse(host: str | None, options: Any) -> None:
    """Say what can't be run; ``host`` is None where the web page asks for it.

    Raises:
        RacksortError: the pace is none, or the host isn't this machine or needs the other client.
    """
    if not 0 < options.user_rate < float("inf"):
        raise RacksortError(f"--user-rate {options.user_rate:g}: give a number above 0")
    if host:
        require_loopback(host, allow_remote=options.allow_remote)
        if options.client == LEAN:
            LeanClient(host, 1.0)
