"""Replayed traffic is the same each time, real customers' in their proportions, and of the mix that was asked for."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from ensemble.data.dataset import Dataset, load
from ensemble.errors import RacksortError
from loadtest.loopback import require_loopback
from loadtest.mix import FIRST_WEEK, LAST_WEEK, Mix, kept
from loadtest.replay import ANONYMOUS, Replay, visits
from loadtest.shopping import MAX_PAGES, NEW_CUSTOMERS, build, ensure_replay

MIX = Mix(seed=3)

on_real_data = pytest.mark.slow  # the catalog and the traffic take ten seconds to make


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return load()


@pytest.fixture(scope="module")
def replay(dataset: Dataset, catalog_dir: Path) -> Replay:
    return build(dataset, catalog_dir, MIX)


@pytest.mark.slow
def test_the_same_seed_is_the_same_file_and_another_one_is_not(
    dataset: Dataset, catalog_dir: Path, replay: Replay, tmp_path: Path
) -> None:
    replay.save(tmp_path / "one.npz")
    build(dataset, catalog_dir, MIX).save(tmp_path / "two.npz")
    build(dataset, catalog_dir, Mix(seed=4)).save(tmp_path / "other.npz")
    one, two, other = ((tmp_path / f"{name}.npz").read_bytes() for name in ("one", "two", "other"))
    assert one == two
    assert one != other
    read = Replay.load(tmp_path / "one.npz")
    assert [first[0] for first in zip(visits(read, 5), range(50), strict=False)] == [
        first[0] for first in zip(visits(replay, 5), range(50), strict=False)
    ]


@on_real_data
def test_known_customers_come_as_often_as_they_went_shopping(dataset: Dataset, replay: Replay) -> None:
    bought = dataset.purchases.filter(pl.col("week").is_between(FIRST_WEEK, LAST_WEEK))
    trips = bought.select("customer_id", "basket_id").unique()["customer_id"].value_counts()
    known = replay.customer[(replay.customer != ANONYMOUS) & (replay.customer < NEW_CUSTOMERS)]
    came = Counter(known.tolist())
    assert came.keys() <= set(trips["customer_id"].to_list())
    expected = trips["count"].to_numpy()
    seen = np.array([came[customer] for customer in trips["customer_id"].to_list()])
    assert np.corrcoef(expected, seen)[0, 1] > 0.95
    assert (
        abs(seen[np.argsort(-expected)[:200]].sum() / seen.sum() - np.sort(expected)[-200:].sum() / expected.sum())
        < 0.02
    )


@on_real_data
def test_the_mix_is_what_was_asked_for(replay: Replay) -> None:
    sessions = replay.customer.size
    assert sessions == MIX.sessions
    assert np.mean(replay.customer == ANONYMOUS) == pytest.approx(MIX.anonymous, abs=0.02)
    assert np.mean(replay.customer >= NEW_CUSTOMERS) == pytest.approx(MIX.new, abs=0.02)
    grid = replay.grid[replay.target]
    assert grid.mean() == pytest.approx(MIX.grids, abs=0.02)
    assert replay.pages[grid].mean() == pytest.approx(MIX.scrolled, abs=0.1)
    assert replay.pages.max() <= MAX_PAGES
    assert set(replay.pages[~grid].tolist()) == {1}
    assert replay.pages[grid].sum() > 0.7 * replay.pages.sum()  # grids are the larger part of the requests
    narrowed = replay.category[replay.target] != ""
    assert 0.02 < narrowed.mean() < MIX.categories
    assert set(replay.limit[grid].tolist()) == {24, 40}
    assert set(replay.limit[~grid].tolist()) == {12, 24}


@on_real_data
def test_containers_are_drawn_by_zipf_s_law(replay: Replay) -> None:
    for grid in (False, True):
        opened = replay.container_id[replay.target[replay.grid[replay.target] == grid]]
        shares = np.sort(np.unique(opened, return_counts=True)[1] / opened.size)[::-1]
        count = np.unique(replay.container_id[replay.grid == grid]).size
        law = 1 / np.arange(1, count + 1)
        law /= law.sum()
        assert shares[:10] == pytest.approx(law[:10], rel=0.1)


@on_real_data
async def test_members_are_what_the_catalog_shows(replay: Replay, catalog_dir: Path) -> None:
    from api.catalog.embedded import EmbeddedCatalog

    catalog = EmbeddedCatalog.open(catalog_dir)
    memberships = replay.memberships()
    for number in range(0, len(memberships), 7):
        pool = await catalog.pool(str(replay.container_id[number]), str(replay.category[number]) or None)
        assert memberships[number] == frozenset(pool.product_id.tolist())
        assert memberships[number]


@on_real_data
def test_a_visit_asks_for_what_its_session_says(replay: Replay) -> None:
    for number, visit in enumerate(islice(visits(replay, 0), 200)):
        target = replay.target[number]
        assert visit.path.startswith(f"/v1/containers/{replay.container_id[target]}/products?limit=")
        assert visit.scroll.limit == replay.limit[number]
        assert (f"&category={replay.category[target]}" in visit.path) == bool(replay.category[target])
        customer = replay.customer[number]
        assert visit.scroll.customer_id == (None if customer == ANONYMOUS else customer)
        assert ("customer_id=" in visit.path) == (customer != ANONYMOUS)
        assert visit.name.startswith("grid" if replay.grid[target] else "list")


@on_real_data
def test_sessions_come_over_and_over(replay: Replay) -> None:
    last = replay.customer.size - 1
    end, begin = islice(visits(replay, last), 2)
    assert begin.path == next(visits(replay, 0)).path
    assert end.path == next(visits(replay, 2 * replay.customer.size - 1)).path


@pytest.mark.slow
def test_a_file_is_kept_while_it_fits_and_made_anew_when_not(catalog_dir: Path, tmp_path: Path) -> None:
    file = tmp_path / "deep" / "traffic.npz"
    small = Mix(seed=3, sessions=100)
    made = ensure_replay(file, catalog_dir, small, lambda _label, _share: None)
    assert made.customer.size == 100
    assert kept(file, catalog_dir, small) is not None
    assert kept(file, catalog_dir, MIX) is None
    other = tmp_path / "catalog"
    other.mkdir()
    for entry in catalog_dir.iterdir():
        (other / entry.name).write_bytes(entry.read_bytes())
    (other / "catalog.json").write_text((other / "catalog.json").read_text() + " ")
    assert kept(file, other, small) is None
    written = file.stat().st_mtime_ns
    ensure_replay(file, catalog_dir, small, lambda _label, _share: pytest.fail("it was there"))
    assert file.stat().st_mtime_ns == written


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 not a zip", b"\x93NUMPY"])
def test_a_file_that_is_no_traffic_is_one_clear_line(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "traffic.npz"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(RacksortError, match="racksort loadtest prepare"):
        Replay.load(file)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080", "http://localhost", "http://[::1]:1", "https://127.8.9.1:3"])
def test_this_machine_may_be_loaded(url: str) -> None:
    require_loopback(url)


@pytest.mark.parametrize(
    "url", ["http://10.0.0.1:8080", "http://example.com", "http://127.0.0.1.example.com", "http://localhost.:1@x.org"]
)
def test_another_machine_is_loaded_only_if_somebody_says_so(url: str) -> None:
    with pytest.raises(RacksortError, match="--allow-remote"):
        require_loopback(url)
    require_loopback(url, allow_remote=True)


@pytest.mark.parametrize("url", ["", "127.0.0.1:8080", "ftp://127.0.0.1", "http://"])
def test_what_is_no_address_is_refused_whoever_says_so(url: str) -> None:
    with pytest.raises(RacksortError, match="isn't an address"):
        require_loopback(url, allow_remote=True)


def test_traffic_that_is_damaged_anywhere_is_one_clear_line(tmp_path: Path) -> None:
    file, size = tmp_path / "traffic.npz", 300
    numbers = np.random.default_rng(5).integers(0, 30_000, size)
    Replay(
        customer=numbers,
        target=np.zeros(size, np.int32),
        limit=numbers.astype(np.int16),
        pages=numbers.astype(np.int16),
        container_id=np.array(["one"]),
        category=np.array([""]),
        grid=np.array([True]),
        members=numbers,
        offsets=np.array([0, size]),
    ).save(file)
    whole, refused = file.read_bytes(), 0
    for at in range(0, len(whole) - 4, 5):
        file.write_bytes(whole[:at] + bytes(byte ^ 0xFF for byte in whole[at : at + 4]) + whole[at + 4 :])
        try:
            Replay.load(file)
        except RacksortError as error:
            assert "racksort loadtest prepare" in str(error)  # noqa: PT017 some places hold nothing that is looked at
            refused += 1
    assert refused > 100
