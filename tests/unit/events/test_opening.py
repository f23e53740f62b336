"""Which stores the settings can open."""

from __future__ import annotations

import pytest

from api.errors import EventsUnusable
from api.events.opening import open_events
from api.metrics import Metrics
from api.settings import Settings


@pytest.mark.parametrize("option", ["foo=bar", "socket_timeout=soon", "protocol=9", "decode_responses=true"])
async def test_an_address_that_the_client_cant_use_is_refused_without_repeating_it(option: str) -> None:
    settings = Settings(events="valkey", valkey_url=f"redis://user:hunter2@127.0.0.1:6379/0?{option}")
    with pytest.raises(EventsUnusable, match="RACKSORT_VALKEY_URL") as refused:
        open_events(settings, Metrics())
    assert "hunter2" not in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("rest", ["", "?ssl_ca_certs=/path/ca.pem", "?health_check_interval=10&protocol=3"])
async def test_options_that_the_client_knows_are_taken(rest: str) -> None:
    scheme = "rediss" if "ssl" in rest else "redis"
    events = open_events(Settings(events="valkey", valkey_url=f"{scheme}://127.0.0.1:1/0{rest}"), Metrics())
    assert events is not None
    await events.close()
