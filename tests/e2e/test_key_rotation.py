"""Keys and passwords are rotated as docs/operations.md says, on real servers: the new beside the old, adapters over to
it, the old one revoked. Who still has the old one serves on from memory, and says why.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path

import pytest
from redis.asyncio import Redis

from api.errors import EventsUnavailable
from api.events.valkey_server import ValkeyServer
from racksort.dev import security
from racksort.dev.elasticsearch_server import EmbeddedElasticsearch
from racksort.dev.valkey_server import EmbeddedValkey
from tests.conftest import require_valkey
from tests.faults.harness import Adapter, running_adapter, write_shop
from tests.loading import load_folder
from tests.pace import RETRIED, soon
from tests.waiting import until_async

pytestmark = [pytest.mark.e2e, RETRIED]
TIMEOUT_S = 60.0


async def until_well(adapter: Adapter) -> None:
    """Ask for a page until it is a full one of a catalog that is up, which it is at once, but in a busy moment."""
    with soon():
        page = await until_async(
            lambda: adapter.page("list-1"),
            lambda page: (
                page.status_code != 200 or (not page.json()["degraded"] and adapter.metric("racksort_catalog_up") == 1)
            ),
            every_s=0.05,
        )
    assert page.status_code == 200


@pytest.mark.slow
async def test_an_elasticsearch_key_is_replaced_without_a_failed_page(
    secured_elasticsearch: EmbeddedElasticsearch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = secured_elasticsearch
    write_shop(tmp_path)
    load_folder(server.connection, tmp_path)
    with server._superuser() as admin:
        old, new = (security.make_key(admin, name, security.READER) for name in ("old", "new"))
        # A search that is only late is nothing to warn of here.
        common = {"elasticsearch_ca_cert": server.ca_cert, "elasticsearch_timeout_ms": 20_000}
        async with (
            running_adapter(server.url, elasticsearch_api_key=old, **common) as before,
            running_adapter(server.url, elasticsearch_api_key=new, **common) as after,
        ):
            for adapter in (before, after):
                await until_well(adapter)
            admin.security.invalidate_api_key(name="racksort-old")

            def warnings() -> list[str]:
                return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]

            def noticed() -> bool:
                told = any("ELASTICSEARCH_API_KEY" in line for line in warnings())
                return told and not before.metric("racksort_catalog_up")

            page = await until_async(
                lambda: before.page("list-1"),
                lambda page: noticed() or page.status_code != 200,
                every_s=0.05,
                explain=warnings,
            )
            assert page.status_code == 200  # as all before it: from memory
            assert (await before.page("list-1")).status_code == 200
            await until_well(after)


async def test_a_valkey_password_is_replaced_without_a_lost_call() -> None:
    require_valkey()
    with EmbeddedValkey() as server:
        admin = Redis.from_url(server.url)
        plain = server.url.removeprefix("redis://")
        old = ValkeyServer(f"redis://racksort:old@{plain}", timeout_s=TIMEOUT_S, clock=time.monotonic)
        new = ValkeyServer(f"redis://racksort:new@{plain}", timeout_s=TIMEOUT_S, clock=time.monotonic)
        try:
            await admin.execute_command("ACL", "SETUSER", "racksort", "on", ">old", "~*", "+@all", "-@admin")
            assert await old.timelines([7]) == [b""]
            await admin.execute_command("ACL", "SETUSER", "racksort", ">new")  # beside the old one
            assert await old.timelines([7]) == await new.timelines([7]) == [b""]
            await admin.execute_command("ACL", "SETUSER", "racksort", "<old")
            assert await new.timelines([7]) == [b""]
            fresh = ValkeyServer(f"redis://racksort:old@{plain}", timeout_s=TIMEOUT_S, clock=time.monotonic)
            try:
                with pytest.raises(EventsUnavailable, match=r"(?i)password"):
                    await fresh.timelines([7])
            finally:
                await fresh.close()
        finally:
            await old.close()
            await new.close()
            await admin.aclose()
