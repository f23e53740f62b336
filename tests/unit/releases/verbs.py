"""The verbs of ``racksort release`` as a test calls them, and adapters that they ask."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from api.releases import store
from racksort.cli import app


class Adapter:
    """Says of its releases what a test wants; ``follows`` makes it do as the document says."""

    def __init__(self, document: Path) -> None:
        self.document = document
        self.live = 1  # where there is no document
        self.refused: dict[int, str] = {}
        self.followed = True
        self.sees = True
        self.asked = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = json.dumps(outer.status()).encode()
                self.send_response(200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def status(self) -> dict[str, Any]:
        self.asked += 1
        traffic = store.read(self.document, live=self.live)
        states = [
            {"release": each, "name": f"personalize_v{each}", "since": None}
            | {"state": "refused" if each in self.refused else "serving", "why": self.refused.get(each, "")}
            for each in traffic.wanted
        ]
        return {
            "version": traffic.version if self.sees else 0,
            "followed": self.followed,
            "broken": "",
            "change": traffic.change,
            "live": traffic.live,
            "canary": traffic.canary and traffic.canary.release,
            "shadow": traffic.shadow and traffic.shadow.release,
            "releases": states,
        }


@contextmanager
def serving(document: Path) -> Iterator[Adapter]:
    """An adapter that answers as long as the block runs."""
    made = Adapter(document)
    thread = threading.Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.server.shutdown()
        made.server.server_close()
        thread.join(10)


def release(*arguments: object) -> str:
    """What a verb prints.

    Raises:
        Whatever it raises, which is exit status 2 for the errors for people.
    """
    result = CliRunner().invoke(app, ["release", *map(str, arguments)])
    if result.exception is not None:
        raise result.exception
    assert result.exit_code == 0
    return result.stdout
