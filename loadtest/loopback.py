"""Load goes to this machine, unless somebody says that another one is theirs to load."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from ensemble.errors import RacksortError


def is_loopback(url: str) -> bool:
    """Whether ``url`` names this machine's loopback interface. Names other than ``localhost`` aren't looked up."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def require_loopback(url: str, *, allow_remote: bool = False) -> None:
    """Refuse to load another machine.

    Raises:
        RacksortError: ``url`` isn't an HTTP address of this machine, and nobody said that it may be another one.
    """
    target = urlsplit(url)
    if target.scheme not in {"http", "https"} or not target.hostname:
        raise RacksortError(f"{url!r} isn't an address to load: write it as http://127.0.0.1:8080")
    if not allow_remote and not is_loopback(url):
        raise RacksortError(f"{url}: isn't on this machine; --allow-remote loads a server that is yours elsewhere")
