"""Every peer gives the answers that the models give, one request at a time and many together."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from loadtest import closed_loop, wrk
from loadtest.peers import asking, environments, pools
from loadtest.peers.known import PEERS, Peer
from loadtest.peers.shop import InProcessEnsemble, Shop
from loadtest.peers.starting import started
from loadtest.processes import below
from tests import peers
from tests.conftest import REPOSITORY


def _marked(peer: Peer) -> object:
    slow = [pytest.mark.slow, pytest.mark.timeout(600)] if peer.environment else []
    e2e = [pytest.mark.e2e] if peer.key == "triton-single" else []
    return pytest.param(peer, marks=[*slow, *e2e], id=peer.key)


def _ready(peer: Peer) -> None:
    """Skip where the peer's environment isn't made, unless REQUIRE_PEERS names it: then it is made."""
    if not peer.environment:
        return
    lock = environments.ROOT / peer.packages
    folder = environments.ROOT / environments.FOLDER
    if peer.environment in os.environ.get("REQUIRE_PEERS", "").split(","):
        environments.make(peer.environment, lock, lambda _stage, _fraction: None, folder)
    elif not environments.is_made(peer.environment, lock, folder):
        pytest.skip(f"var/peers/{peer.environment} isn't made: REQUIRE_PEERS={peer.environment} makes it")


@pytest.mark.parametrize("peer", [_marked(peer) for peer in PEERS])
def test_answers_are_the_models_own_and_load_is_borne(peer: Peer, tmp_path: Path) -> None:
    _ready(peer)
    path = tmp_path / "pools.npz"
    asks = peers.write(path).asks(48)
    shop = Shop(InProcessEnsemble(REPOSITORY), pools.read(path))
    expected = [shop.rank([ask])[0] for ask in asks]
    assert len({tuple(page) for page in expected}) > 20  # wrong ones couldn't be told apart otherwise
    folder = environments.ROOT / environments.FOLDER
    ready = peer.ready_path.replace("/popular/", "/list/")
    with started(peer, peer.settings, path, REPOSITORY, folder, ready_path=ready) as server:
        alone = asking.answers(server.url, peer.dialect, asks[:1])
        together = asking.answers(server.url, peer.dialect, asks[1:])
        asking.compare(peer.title, asks, expected, alone + together)
        paths = [peer.dialect.path(ask) for ask in asks]
        bodies = [] if peer.dialect.body is None else [peer.dialect.body(ask) for ask in asks]
        for generator in [closed_loop, wrk] if wrk.available() else [closed_loop]:
            measured = generator.run(server.url, paths, 2, 1, bodies=bodies)
            assert measured.errors == 0
            assert measured.requests > 0
        family = {server.pid, *below(server.pid)}
    assert not [pid for pid in family if peers.runs(pid)]
