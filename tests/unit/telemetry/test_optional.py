"""OpenTelemetry's SDK is an extra: who doesn't send traces needs none of it."""

from __future__ import annotations

import subprocess
import sys


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_serving_needs_none_of_it() -> None:
    """Redis' client loads the SDK where it is installed, so that looking for it among the modules would say nothing."""
    code = """
import sys
sys.modules["opentelemetry.sdk"] = None
import api.server
print("api.telemetry.otlp" in sys.modules)
"""
    assert python(code) == "False"


def test_where_it_is_missing_one_line_says_so() -> None:
    code = """
import sys
sys.modules["opentelemetry.sdk.trace"] = None
from api.errors import SettingsInvalid
try:
    import api.telemetry.otlp
except SettingsInvalid as error:
    print(error)
"""
    said = python(code)
    assert "RACKSORT_OTLP_ENDPOINT" in said
    assert "pip install 'racksort[telemetry]'" in said
    assert "\n" not in said
