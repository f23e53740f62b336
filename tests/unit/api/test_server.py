from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from api.server import serve
from api.settings import Settings

ROOT = Path(__file__).parents[3]

# Everything real but the catalog and the models.
SCRIPT = """
import api.server
from api.app import create_app
from api.settings import Settings
from tests.fakes.ensemble import FakeEnsemble
from tests.unit.api.shelf import Shelf

api.server.create_app = lambda settings: create_app(settings, catalog=Shelf(), ensemble=FakeEnsemble())
api.server.serve(Settings.load(port=0), on_ready=lambda url: print(url, flush=True))
print("tidy", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_real_server_answers_and_ends_tidily(number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        answers = [
            httpx.get(f"{url}/v1/containers/{path}/products?customer_id=7") for path in ("deals", "a%2Fb%20%C3%BC", "x")
        ]
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert [answer.status_code for answer in answers] == [200, 200, 404]
    assert answers[1].json()["container_id"] == "a/b ü"
    assert out == "tidy\n"
    assert err == ""
    assert process.returncode == 0


def test_a_port_in_use_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SystemExit) as caught:
            serve(Settings.load(port=port))
    assert caught.value.code == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert f"127.0.0.1:{port}" in err
    assert "RACKSORT_PORT" in err


def test_a_missing_catalog_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as caught:
        serve(Settings.load(port=0, catalog_dir=tmp_path / "nowhere"))
    assert caught.value.code == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "nowhere" in err
