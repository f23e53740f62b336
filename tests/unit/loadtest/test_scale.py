"""What is measured of releases of several sizes, and its picture."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

from ensemble.releases.layout import TRAINING, release_in
from ensemble.scale.shop import Size, make_shop
from loadtest import bench
from loadtest.memory import Memory
from loadtest.scale import Case, customers_of, size_of
from racksort.scale_plot import draw
from tests.unit.releases.candidates import small

SIZE = Size(customers=500, products=100, leaves=10)


def case(name: str, size: Size | None, mb: float) -> Case:
    memory = {"collaborative_filter": Memory(mb, mb / 2, 20.0), "adapter": Memory(100.0, 90.0, 80.0)}
    return Case(name, size, mb, 2.0, 3.0, 9.0, memory, mb, {}, {}, {64: 10.0, 128: 20.0})


def test_a_made_releases_customers_are_asked_for_and_the_reference_datas_elsewhere(tmp_path: Path) -> None:
    folder = small(tmp_path, 1)
    assert size_of(folder) is None
    assert customers_of(None) == bench.CUSTOMERS
    record = release_in(folder).extras_dir / TRAINING
    record.write_text(json.dumps({"week": 47, "synthetic": asdict(SIZE)}))
    assert size_of(folder) == SIZE
    asked = customers_of(SIZE)
    assert sorted(asked) == make_shop(SIZE).customer_id.tolist()


def test_memory_is_that_of_the_models_alone() -> None:
    assert case("a", None, 50.0).rss_mb == 50.0
    assert case("a", None, 50.0).pss_mb == 25.0


def test_the_picture_has_each_release_and_is_the_same_each_time() -> None:
    cases = [case("reference", None, 23.0)]
    cases += [case(f"c{each}", replace(SIZE, customers=each), each / 10) for each in (100, 1_000, 10_000)]
    cases += [case("p1000", replace(SIZE, customers=1_000, products=1_000), 120.0)]
    drawn = draw(cases)
    assert drawn == draw(cases)
    for each in cases:
        assert f">{each.name}<" in drawn
