"""``racksort probe`` on the real server."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("program", [["racksort", "probe"], ["ensemble.runtime.probe"]])
def test_a_triton_that_ranks_is_healthy(triton_address: str, program: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *program, triton_address, "--timeout-ms", "30000"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"healthy: release 1 at {triton_address} ranked in ")
