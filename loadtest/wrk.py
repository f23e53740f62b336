"""wrk as load generator: one thread in C, cheap enough to share two cores with what it measures."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ensemble.errors import RacksortError
from loadtest.measurement import Measurement

_SCRIPT: Final = """
local requests = {}
init = function()
  local json = {["Host"] = wrk.headers["Host"], ["Content-Type"] = "application/json"}
  for line in io.lines(os.getenv("RACKSORT_REQUESTS")) do
    local path, body = line:match("^([^\\t]*)\\t?(.*)$")
    requests[#requests + 1] = body == "" and wrk.format("GET", path) or wrk.format("POST", path, json, body)
  end
end
local next = 0
request = function()
  next = next % #requests + 1
  return requests[next]
end
done = function(summary, latency)
  local e = summary.errors
  io.write(string.format(
    '{"us": %d, "requests": %d, "errors": %d, "mean": %f, "p50": %f, "p99": %f}\\n',
    summary.duration, summary.requests, e.connect + e.read + e.write + e.status + e.timeout,
    latency.mean, latency:percentile(50), latency:percentile(99)))
end
"""


def available() -> bool:
    """Whether wrk is installed."""
    return shutil.which("wrk") is not None


def run(
    base_url: str, paths: Sequence[str], connections: int, seconds: int, *, bodies: Sequence[str] = ()
) -> Measurement:
    """Load ``base_url`` for ``seconds`` with ``connections`` connections that cycle through ``paths``.

    ``bodies`` are JSON in one line to be posted, one for each path; without them, requests are GETs.

    Raises:
        RacksortError: wrk failed; carries what it wrote.
    """
    with tempfile.TemporaryDirectory(prefix="racksort-wrk-") as folder:
        script, requests = Path(folder, "script.lua"), Path(folder, "requests.txt")
        script.write_text(_SCRIPT)
        lines = [f"{path}\t{body}" for path, body in zip(paths, bodies, strict=True)] if bodies else paths
        requests.write_text("\n".join(lines) + "\n")
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "5s", "-s", str(script), base_url]
        done = subprocess.run(  # noqa: S603 - fixed program, arguments are numbers and our own files
            command,
            env={"RACKSORT_REQUESTS": str(requests), "PATH": "/usr/bin:/bin:/usr/local/bin"},
            capture_output=True,
            text=True,
            timeout=seconds + 60,
            check=False,
        )
    found = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not found:
        wrote = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()[-1]
        raise RacksortError(f"wrk failed with status {done.returncode}: {wrote}")
    seen = json.loads(found[-1])
    return Measurement(
        connections=connections,
        seconds=seen["us"] / 1e6,
        requests=seen["requests"],
        errors=seen["errors"],
        mean_ms=seen["mean"] / 1e3,
        p50_ms=seen["p50"] / 1e3,
        p99_ms=seen["p99"] / 1e3,
    )
