"""Peers: the same pools and pages for all, settings and locks that fit, and what a comparison says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble.errors import RacksortError
from loadtest.peers import asking, pools
from loadtest.peers.known import PEERS, chosen
from loadtest.peers.shop import Ask, InProcessEnsemble, Shop, page, parse
from tests import peers
from tests.conftest import REPOSITORY

ROOT = REPOSITORY.parent


def test_peers_are_chosen_by_name_in_their_own_order() -> None:
    assert [peer.key for peer in chosen("litserve, bound")] == ["bound", "litserve"]
    with pytest.raises(RacksortError, match="no peer 'gunicorn': choose from bound, fastapi, ray"):
        chosen("ray,gunicorn")


def test_every_peer_s_settings_are_of_its_grid_and_its_lock_is_made_by_make() -> None:
    made = re.search(r"^PEERS := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert made is not None
    assert {peer.environment for peer in PEERS} - {""} == set(made[1].split())
    for peer in PEERS:
        assert peer.settings in peer.grid
        assert not peer.environment or (ROOT / peer.packages).is_file()


@pytest.mark.parametrize("lock", sorted((ROOT / "requirements" / "peers").glob("*.txt")), ids=lambda lock: lock.stem)
def test_models_are_run_by_the_same_packages_everywhere(lock: Path) -> None:
    def pinned(path: Path) -> set[str]:
        return set(re.findall(r"^(?:numpy|onnxruntime)==\S+", path.read_text(), re.MULTILINE))

    assert pinned(lock) == pinned(ROOT / "requirements" / "serve.txt")
    assert len(pinned(lock)) == 2


NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,20}", fullmatch=True)


@given(NAMES, st.integers(0, 2**40), st.integers(1, 100), st.lists(st.integers(1, 2**40)))
def test_every_dialect_asks_and_reads_the_same(name: str, customer: int, limit: int, ids: list[int]) -> None:
    ask = Ask(name, customer, limit)
    answers = {
        "adapter": json.dumps(page(ask, ids)),
        "bentoml": json.dumps([ids]),
        "mlserver": json.dumps({"outputs": [{"name": "product_ids", "data": [*ids, 0, 0]}]}),
    }
    for peer in PEERS:
        dialect = peer.dialect
        assert dialect.product_ids(answers.get(peer.key, answers["adapter"]).encode()) == ids
        if dialect.body is None:
            assert parse(*dialect.path(ask).split("?")) == ask
        else:
            assert json.loads(dialect.body(ask))
            assert "\n" not in dialect.body(ask)
            assert "\t" not in dialect.body(ask)


def test_a_path_that_isn_t_a_container_s_is_refused() -> None:
    with pytest.raises(ValueError, match="no such path"):
        parse("/v1/other", "")
    assert parse("/v1/containers/a/products", "") == Ask("a", 0, 24)


def test_other_answers_are_told_with_the_first_request() -> None:
    asks = [Ask("a", 1, 2), Ask("b", 1, 2)]
    asking.compare("A", asks, [[1], [2]], [[1], [2]])
    with pytest.raises(RacksortError, match=r"A gives other answers than racksort, first to Ask.*'b'"):
        asking.compare("A", asks, [[1], [2]], [[1], [3]])


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory) -> tuple[Shop, peers.GoldenCatalog, pools.PeerPools]:
    path = tmp_path_factory.mktemp("peers") / "pools.npz"
    catalog = peers.write(path)
    read = pools.read(path)
    return Shop(InProcessEnsemble(REPOSITORY), read), catalog, read


async def test_pools_are_what_racksort_would_rank(golden: tuple[Shop, peers.GoldenCatalog, pools.PeerPools]) -> None:
    _, catalog, read = golden
    assert read.now_day == catalog.now_day
    for container in await catalog.containers():
        mine, pool = read.by_container[container.container_id], await catalog.pool(container.container_id)
        assert mine.size == min(pool.product_id.size, 1_024)
        for name in ("product_id", "category_id", "offer", "boost"):
            tensor, whole = getattr(mine, name), getattr(pool, name)
            assert tensor.dtype == whole.dtype
            np.testing.assert_array_equal(tensor[: mine.size], whole[: mine.size])
            assert not tensor[mine.size :].any()
    assert [read.by_container[name].bucket for name in ("list", "short", "grid", "all")] == [128, 128, 512, 1024]


@settings(max_examples=15)
@given(st.lists(st.integers(0, 47), max_size=150))
def test_a_batch_answers_as_its_requests_alone_do(
    golden: tuple[Shop, peers.GoldenCatalog, pools.PeerPools], places: list[int]
) -> None:
    shop, catalog, _ = golden
    asks = catalog.asks(48)
    alone = {place: shop.rank([asks[place]])[0] for place in set(places)}
    assert shop.rank([asks[place] for place in places]) == [alone[place] for place in places]
