"""No feature looks past now: the same bytes come out whatever happens at or after the start of the week.

The method: build the catalog from the raw files, and again from raw files in which the future is removed or replaced;
then compare every file byte for byte. A planted leak shows that the method sees one. What may differ is the plan of the
week itself, which the shop knows; it is left as it is.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from ensemble.data import catalog, dataset, offers, promotions, sales_features
from ensemble.data.dataset import Dataset, read_reference
from tests.unit.data.reference import WEEKS, remove_future, scramble_future, write_shop

WEEK = 12
Spoil = Callable[[Path, Path, int], Path]


def catalog_bytes(files: Path, week: int, folder: Path) -> dict[str, bytes]:
    catalog.build(read_reference(files), week, folder)
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    folder.mkdir()
    return write_shop(folder)


def sampled_reference(folder: Path) -> Path:
    """The real data's files with every 20th customer and product, so that reading takes little time."""
    package = importlib.util.find_spec(dataset.REFERENCE)
    assert package is not None
    assert package.origin is not None
    source = Path(package.origin).parent / "data"
    for name, column in (
        ("products", None),
        ("coupons", None),
        ("campaign_descriptions", None),
        ("transactions", "household_id"),
        ("promotions", "product_id"),
    ):
        kept = pl.lit(value=True) if column is None else pl.col(column) % 20 == 0
        pl.scan_parquet(source / f"{name}.parquet").filter(kept).collect(engine="streaming").write_parquet(
            folder / f"{name}.parquet"
        )
    return folder


@pytest.mark.parametrize("spoil", [remove_future, scramble_future])
@pytest.mark.parametrize("week", [3, WEEK, WEEKS])
def test_the_catalog_is_the_same_whatever_comes_after_now(shop: Path, tmp_path: Path, spoil: Spoil, week: int) -> None:
    spoiled = tmp_path / "spoiled"
    spoiled.mkdir()
    spoil(shop, spoiled, week)
    assert catalog_bytes(shop, week, tmp_path / "a") == catalog_bytes(spoiled, week, tmp_path / "b")


def test_so_is_the_real_data_s(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("real", "removed", "scrambled")]
    for folder in folders:
        folder.mkdir()
    real, removed, scrambled = folders
    sampled_reference(real)
    remove_future(real, removed, dataset.DEFAULT_WEEK)
    scramble_future(real, scrambled, dataset.DEFAULT_WEEK)
    expected = catalog_bytes(real, dataset.DEFAULT_WEEK, tmp_path / "a")
    assert expected == catalog_bytes(removed, dataset.DEFAULT_WEEK, tmp_path / "b")
    assert expected == catalog_bytes(scrambled, dataset.DEFAULT_WEEK, tmp_path / "c")


@pytest.mark.parametrize("spoil", [remove_future, scramble_future])
def test_the_past_is_not_ignored_either(shop: Path, tmp_path: Path, spoil: Spoil) -> None:
    spoiled = tmp_path / "spoiled"
    spoiled.mkdir()
    spoil(shop, spoiled, WEEK - 1)
    assert catalog_bytes(shop, WEEK, tmp_path / "a") != catalog_bytes(spoiled, WEEK, tmp_path / "b")


@pytest.mark.parametrize("spoil", [remove_future, scramble_future])
@pytest.mark.parametrize("leaky", ["cut", "offers", "sales", "store weights"])
def test_a_planted_leak_is_caught(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: Spoil, leaky: str
) -> None:
    whole: dict[str, Dataset] = {}
    monkeypatch.setattr(offers, "require_cut", lambda _cut, _week: None)
    monkeypatch.setattr(sales_features, "require_cut", lambda _cut, _week: None)
    if leaky == "cut":
        monkeypatch.setattr(Dataset, "before", lambda self, _week: self)
    elif leaky == "offers":
        honest_offers = offers.offers_at
        monkeypatch.setattr(catalog, "offers_at", lambda _cut, week: honest_offers(whole["data"], week))
    elif leaky == "sales":
        honest_sales = sales_features.sales_features
        monkeypatch.setattr(catalog, "sales_features", lambda _cut, week: honest_sales(whole["data"], week))
    else:
        # A store's weight counts everyone who ever came, not those who came before the week.
        honest_weights = promotions._store_weights
        monkeypatch.setattr(
            promotions,
            "_store_weights",
            lambda rows, visits: honest_weights(rows, visits.with_columns(week=pl.lit(0))),
        )
    spoiled = tmp_path / "spoiled"
    spoiled.mkdir()
    spoil(shop, spoiled, WEEK)
    built = []
    for number, files in enumerate((shop, spoiled)):
        whole["data"] = read_reference(files)
        built.append(catalog_bytes(files, WEEK, tmp_path / str(number)))
    assert built[0] != built[1]


@pytest.mark.parametrize("feature", [offers.offers_at, sales_features.sales_features])
def test_features_refuse_data_that_is_not_cut(shop: Path, feature: Callable[[Dataset, int], pl.DataFrame]) -> None:
    data = read_reference(shop)
    with pytest.raises(ValueError, match=rf"cut it with before\({WEEK}\)"):
        feature(data, WEEK)
    with pytest.raises(ValueError, match="cut it"):
        feature(data.before(WEEK + 1), WEEK)
    assert feature(data.before(WEEK), WEEK).height
