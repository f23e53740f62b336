"""What every catalog must do, whatever it is made of. A new one joins by adding its factory to ``MAKERS``."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from api.attributes import UNKNOWN
from api.catalog.details import ProductDetails
from api.catalog.elastic.catalog import ElasticsearchCatalog, Options
from api.catalog.elastic.connection import Connection
from api.catalog.embedded import EmbeddedCatalog
from api.catalog.protocol import Catalog
from api.errors import UnknownCategory, UnknownContainer
from api.metrics import Metrics
from api.types import Kind, Pool
from ensemble import contract
from racksort.dev.elasticsearch_server import EmbeddedElasticsearch
from tests.conftest import RealElasticsearch
from tests.contract.shop import CATEGORIES, DEFINITIONS, NOW_DAY, NOW_WEEK, PRODUCTS, Product
from tests.fakes.catalog import FakeCatalog
from tests.loading import load_folder

Maker = Callable[[Path], Awaitable[Catalog]]


def write_folder(folder: Path, suffix: str) -> None:
    frame = pl.DataFrame([asdict(product) for product in PRODUCTS])
    if suffix == "csv":
        frame.write_csv(folder / "products.csv")
    else:
        frame.write_parquet(folder / "products.parquet")
    (folder / "containers.json").write_text(json.dumps([entry.as_json() for entry in DEFINITIONS]))
    header = {"schema_version": 1, "now_day": NOW_DAY, "now_week": NOW_WEEK, "categories": CATEGORIES}
    (folder / "catalog.json").write_text(json.dumps(header))


async def fake(_folder: Path) -> Catalog:
    products = [asdict(product) for product in PRODUCTS]
    return FakeCatalog(products, [entry.as_json() for entry in DEFINITIONS], CATEGORIES, NOW_DAY, NOW_WEEK)


async def embedded_parquet(folder: Path) -> Catalog:
    write_folder(folder, "parquet")
    return EmbeddedCatalog.open(folder)


async def embedded_csv(folder: Path) -> Catalog:
    write_folder(folder, "csv")
    return EmbeddedCatalog.open(folder)


MAKERS: dict[str, Maker] = {"fake": fake, "embedded-parquet": embedded_parquet, "embedded-csv": embedded_csv}
SERVERS = {
    "elasticsearch": ("loaded", 1_000),
    "elasticsearch-in-pages-of-2": ("loaded", 2),
    "elasticsearch-secured": ("loaded_secured", 2),
}
"""Fixture of the server, and products of one answer."""


@pytest.fixture(scope="module")
def loaded(elasticsearch: RealElasticsearch, tmp_path_factory: pytest.TempPathFactory) -> Connection:
    """The real Elasticsearch with the shop in it."""
    folder = tmp_path_factory.mktemp("shop")
    write_folder(folder, "parquet")
    load_folder(elasticsearch.connection, folder)
    return elasticsearch.connection


@pytest.fixture(scope="module")
def loaded_secured(
    secured_elasticsearch: EmbeddedElasticsearch, tmp_path_factory: pytest.TempPathFactory
) -> Connection:
    """A real Elasticsearch with TLS, and an API key that may only read it."""
    folder = tmp_path_factory.mktemp("shop")
    write_folder(folder, "parquet")
    load_folder(secured_elasticsearch.connection, folder)
    return replace(secured_elasticsearch.connection, api_key=secured_elasticsearch.reader_key)


def _marks(server: str) -> list[pytest.MarkDecorator]:
    return [pytest.mark.e2e, pytest.mark.slow] if server == "elasticsearch-secured" else [pytest.mark.e2e]


@pytest.fixture(params=[*MAKERS, *(pytest.param(name, marks=_marks(name)) for name in SERVERS)])
async def catalog(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Catalog]:
    if request.param in MAKERS:
        made = await MAKERS[request.param](tmp_path)
    else:
        server, page = SERVERS[request.param]
        options = Options(timeout_s=10.0, page=page, attributes=True)
        made = await ElasticsearchCatalog.open(request.getfixturevalue(server), options, Metrics())
    yield made
    await made.close()


async def test_containers_come_in_display_order_with_their_sizes(catalog: Catalog) -> None:
    found = await catalog.containers()
    assert [(each.container_id, each.title, each.kind, each.size) for each in found] == [
        ("deals", "Deals", Kind.LIST, 2),
        ("all", "All", Kind.GRID, 7),
        ("dairy", "Dairy", Kind.GRID, 3),
        ("some", "Some", Kind.GRID, 2),
        ("between", "Between", Kind.LIST, 2),
        ("cheapest", "Cheapest", Kind.LIST, 4),
        ("nothing", "Nothing", Kind.LIST, 0),
    ]


@pytest.mark.parametrize(
    ("container_id", "expected"),
    [
        # Unavailable products never appear; a tie is broken by the lower id, and what isn't known comes last.
        ("deals", [12, 20]),
        ("all", [7, 12, 20, 31, 40, 5_000_000_000, 3]),
        ("dairy", [31, 40, 5_000_000_000]),
        ("some", [20, 40]),
        ("between", [31, 40]),
        ("cheapest", [12, 20, 31, 40]),
        ("nothing", []),
    ],
)
async def test_a_pool_holds_what_matches_in_the_container_s_order(
    catalog: Catalog, container_id: str, expected: list[int]
) -> None:
    pool = await catalog.pool(container_id)
    assert pool.container_id == container_id
    assert pool.product_id.tolist() == expected


@pytest.mark.parametrize(
    ("container_id", "category", "expected"),
    [
        ("all", "soft-drinks", [7, 12]),
        ("all", "cheese", [31, 40]),  # a slug may stand for several names
        ("all", "herbs", []),
        ("dairy", "soft-drinks", []),
        ("deals", "cheese", [31, 40]),  # beyond the two best deals: the category narrows before the size cuts
    ],
)
async def test_a_category_narrows_a_pool(
    catalog: Catalog, container_id: str, category: str, expected: list[int]
) -> None:
    pool = await catalog.pool(container_id, category)
    assert pool.container_id == container_id
    assert pool.product_id.tolist() == expected


async def test_a_pool_carries_each_product_s_category_offer_and_boost(catalog: Catalog) -> None:
    by_id = {product.product_id: product for product in PRODUCTS}
    pool = await catalog.pool("all")
    assert pool.product_id.dtype == np.int64
    assert pool.category_id.dtype == np.int32
    assert pool.offer.dtype == pool.boost.dtype == np.float32
    assert pool.offer.shape == (pool.product_id.size, len(contract.OFFER))
    for row, product_id in enumerate(pool.product_id.tolist()):
        product = by_id[product_id]
        assert pool.category_id[row] == product.category_id
        assert pool.offer[row].tolist() == [getattr(product, name) for name in contract.OFFER]
        assert pool.boost[row] == product.boost


@pytest.mark.parametrize("category", [None, "cheese", "herbs"])
async def test_an_empty_pool_has_the_same_columns(catalog: Catalog, category: str | None) -> None:
    pool = await catalog.pool("nothing", category)
    assert pool.offer.shape == (0, len(contract.OFFER))
    assert pool.category_id.shape == pool.boost.shape == pool.product_id.shape == (0,)


async def test_an_unchanged_pool_is_the_same_object(catalog: Catalog) -> None:
    assert await catalog.pool("all") is await catalog.pool("all")
    assert await catalog.pool("all", "cheese") is await catalog.pool("all", "cheese")
    assert await catalog.pool("nothing", "herbs") is await catalog.pool("nothing", "herbs")


@pytest.mark.parametrize("category", [None, "cheese", "no-such"])
async def test_an_unknown_container_is_the_caller_s_mistake(catalog: Catalog, category: str | None) -> None:
    with pytest.raises(UnknownContainer):
        await catalog.pool("no-such", category)


@pytest.mark.parametrize("category", ["no-such", "", "SOFT DRINKS", "snacks"])
async def test_an_unknown_category_is_the_caller_s_mistake(catalog: Catalog, category: str) -> None:
    with pytest.raises(UnknownCategory):
        await catalog.pool("all", category)


async def test_lookup_keeps_the_order_and_every_product(catalog: Catalog) -> None:
    asked = np.array([40, 1, 9, 6_000_000_000, 31, 31, 3], np.int64)
    pool = await catalog.lookup(asked)
    assert pool.product_id.tolist() == asked.tolist()
    # Products that aren't available can still be ranked; the unknown have category 0 and cost what they always cost.
    assert pool.category_id.tolist() == [2, 0, 1, 0, 3, 3, 4]
    assert pool.category_id.dtype == np.int32
    assert pool.offer.dtype == pool.boost.dtype == np.float32
    assert pool.offer.tolist() == [
        [0.875, 0, 0, 0],
        [1, 0, 0, 0],
        [0.5, 0, 0, 0],
        [1, 0, 0, 0],
        [0.75, 0.5, 0.125, 1],
        [0.75, 0.5, 0.125, 1],
        [1, 0, 0, 0],
    ]
    assert pool.boost.tolist() == [0, 0, 0, 0, 0.5, 0.5, 0]


@pytest.mark.parametrize(
    ("product_id", "known"), [(7, True), (9, True), (20, True), (5_000_000_000, True), (8, False), (2**63 - 1, False)]
)
async def test_whether_a_product_is_known_available_or_not(catalog: Catalog, product_id: int, known: bool) -> None:
    assert await catalog.has_product(product_id) is known


async def test_lookup_of_nothing_is_empty(catalog: Catalog) -> None:
    pool = await catalog.lookup(np.array([], np.int64))
    assert pool.offer.shape == (0, len(contract.OFFER))
    assert pool.product_id.size == pool.category_id.size == pool.boost.size == 0


async def test_a_description_says_what_is_known_and_null_for_the_rest(catalog: Catalog) -> None:
    described = await catalog.describe([31, 5_000_000_000])
    assert described == (
        ProductDetails(31, None, None, "CHEESES", "DAIRY", "Alp", None, 3.32, 2.49, 0.75, 0.5, 0.125, 1.0, True),
        ProductDetails(5_000_000_000, None, None, None, "DAIRY", *[None] * 4, 0.9375, 0.0, 0.0, 0.0, True),
    )


async def test_descriptions_come_once_in_the_given_order_without_unknown_products(catalog: Catalog) -> None:
    described = await catalog.describe([40, 6_000_000_000, 9, 1, 40, 3])
    assert [each.product_id for each in described] == [40, 9, 3]
    assert [each.available for each in described] == [True, False, True]
    again = await catalog.describe([9, 20, 1])
    assert [each.product_id for each in again] == [9, 20]


async def test_descriptions_of_nothing_are_none(catalog: Catalog) -> None:
    assert await catalog.describe([]) == ()
    assert await catalog.describe([1]) == ()


SLUGS = {name: slug for slug, names in CATEGORIES.items() for name in names}


def known_of(pool: Pool) -> list[tuple[str | None, str | None, float | None, float | None]]:
    """Each product's brand, category, repeat rate and first day as the pool's attributes have them; None is unknown."""
    known = pool.attributes
    assert known is not None
    columns = (known.brand(), known.category(), known.repeat_rate(), known.first_seen_day())
    for column, dtype in zip(columns, (np.int32, np.int32, np.float32, np.float32), strict=True):
        assert column is not None
        assert (column.dtype, column.shape) == (dtype, pool.product_id.shape)
    brand, category, repeat_rate, first_seen = (column.tolist() for column in columns if column is not None)
    assert known.columns.brand is not None
    assert known.columns.category is not None
    brands, slugs = (
        {code: name for name, code in names.number.items()} for names in (known.columns.brand, known.columns.category)
    )
    return [
        (
            brands.get(brand[row]),
            slugs.get(category[row]),
            None if np.isnan(repeat_rate[row]) else repeat_rate[row],
            None if np.isnan(first_seen[row]) else first_seen[row],
        )
        for row in range(pool.product_id.size)
    ]


def known_to_be(product: Product) -> tuple[str | None, str | None, float | None, float | None]:
    """What the attributes must say of a product."""
    first_seen = NOW_DAY - 7 * (NOW_WEEK - product.first_week) if product.first_week else None
    return product.brand, SLUGS.get(product.category), product.repeat_rate, first_seen


@pytest.mark.parametrize(
    ("container_id", "category"),
    [("all", None), ("deals", None), ("dairy", None), ("all", "cheese"), ("deals", "soft-drinks"), ("nothing", None)],
)
async def test_a_pool_carries_what_the_shop_s_rules_ask_of_its_products(
    catalog: Catalog, container_id: str, category: str | None
) -> None:
    by_id = {product.product_id: product for product in PRODUCTS}
    pool = await catalog.pool(container_id, category)
    assert known_of(pool) == [known_to_be(by_id[each]) for each in pool.product_id.tolist()]
    assert pool.attributes is not None
    assert pool.attributes.columns.category is not None
    assert pool.attributes.columns.category.number.keys() == CATEGORIES.keys()  # those without a product as well


async def test_products_looked_up_carry_the_same_and_the_unknown_say_so(catalog: Catalog) -> None:
    by_id = {product.product_id: product for product in PRODUCTS}
    asked = [9, 6_000_000_000, 31, 31, 3, 12]
    for _ in range(2):  # what was looked up once may be kept
        pool = await catalog.lookup(np.array(asked, np.int64))
        nothing = (None, None, None, None)
        assert known_of(pool) == [known_to_be(by_id[each]) if each in by_id else nothing for each in asked]
        assert pool.attributes is not None
        assert [each == UNKNOWN for each in pool.attributes.row.tolist()] == [each not in by_id for each in asked]


async def test_brands_are_known_whether_their_products_are_available_or_not(catalog: Catalog) -> None:
    assert await catalog.known_brands(["Fell", "Brook", "brook", "", "Alp", "Alp"]) == {"Fell", "Brook", "Alp"}
    assert await catalog.known_brands(["No such"]) == frozenset()
    assert await catalog.known_brands([]) == frozenset()


async def test_the_moment_is_the_catalog_s(catalog: Catalog) -> None:
    assert catalog.now_day == NOW_DAY


async def test_closing_twice_is_harmless(catalog: Catalog) -> None:
    await catalog.close()
    await catalog.close()
