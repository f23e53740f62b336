"""A local S3 server for tests."""

from __future__ import annotations

import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ensemble.runtime import processes
from tests.waiting import until

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "tester",
    "AWS_SECRET_ACCESS_KEY": "not-a-secret",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
"""For the environment of whoever asks the server."""


@contextmanager
def s3_server(log: Path) -> Iterator[str]:
    """A server on a free port; gives HOST:PORT. Ended with the block.

    Args:
        log: the file that its output goes to.
    """
    port = processes.claim_port(0, "S3")
    address = f"{processes.LOOPBACK}:{port}"
    command = [str(Path(sys.executable).with_name("moto_server")), "-H", processes.LOOPBACK, "-p", str(port)]
    with log.open("wb") as output:
        server = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            until(lambda: server.poll() is not None or _answers(address), what="an answer", explain=log.read_text)
            assert server.poll() is None, log.read_text()
            yield address
        finally:
            server.kill()
            server.wait(10)


def _answers(address: str) -> bool:
    try:
        urllib.request.urlopen(f"http://{address}/moto-api/", timeout=5).close()
    except urllib.error.HTTPError as error:
        error.close()
        return True
    except OSError:
        return False
    return True
