"""The served models put together: the nets, and a release's tables around them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from ensemble import contract
from ensemble.models.pair_map import PairMap, build_pair_tables
from ensemble.models.served import CategoryAffinity, CollaborativeFilter, CustomerTables, ProductPool, ProductTables
from ensemble.models.static_map import StaticTable, build_static_table
from ensemble.training.snapshot import Pairs, Snapshot, season_weights
from ensemble.training.weights import Trained


@dataclass(frozen=True, slots=True)
class ReleaseTables:
    """What is put around the nets, arranged by slot.

    Attributes:
        customers: hash table of the customers' ids.
        products: of the products' ids.
        trips: packed history of each customer's shopping trips [slots + 1, 9].
        affinity_profile: what ``CustomerTables`` calls profile, of category affinity [slots + 1, 2 + D].
        preference_profile: the same of the collaborative filter.
        leaves: histories of (customer, leaf category).
        owned: histories of (customer, product).
        product_category: leaf category of each product [P], in the order that ``products`` was built from.
        product_feature: [P, 9], as in ``Snapshot``.
        category_feature: [C, 7].
        new_product: feature row [9] of a product without sales.
        cutoff: days since 1970-01-01 UTC.
    """

    customers: StaticTable
    products: StaticTable
    trips: npt.NDArray[np.uint8]
    affinity_profile: npt.NDArray[np.float32]
    preference_profile: npt.NDArray[np.float32]
    leaves: PairMap
    owned: PairMap
    product_category: npt.NDArray[np.int32]
    product_feature: npt.NDArray[np.float32]
    category_feature: npt.NDArray[np.float32]
    new_product: npt.NDArray[np.float32]
    cutoff: float


def assemble(snapshot: Snapshot, trained: Trained) -> dict[str, nn.Module]:
    """The three served modules by name, with the snapshot's tables."""
    customers = build_static_table(snapshot.customer_id)
    products = build_static_table(snapshot.product_id)
    owners = customers.slots + 1
    buyer = customers.slot_of[snapshot.products.customer].astype(np.int64)
    bought = products.slot_of[snapshot.products.item].astype(np.int64)
    leaf_buyer = customers.slot_of[snapshot.categories.customer].astype(np.int64)

    def profile(bought: torch.Tensor) -> npt.NDArray[np.float32]:
        sums = taste_sums(snapshot.categories, snapshot.customer_id.size, bought)
        return customers.arrange(np.concatenate((snapshot.basket[:, None], sums), 1))

    return served_modules(
        ReleaseTables(
            customers,
            products,
            customers.arrange(snapshot.trips),
            profile(trained.affinity.bought),
            profile(trained.preference.bought),
            _pair_map(leaf_buyer, snapshot.categories.item, snapshot.categories.rows, owners),
            _pair_map(buyer, bought, snapshot.products.rows, owners),
            snapshot.product_category,
            snapshot.product_feature,
            snapshot.category_feature,
            snapshot.new_product,
            snapshot.cutoff,
        ),
        trained,
    )


def served_modules(tables: ReleaseTables, trained: Trained) -> dict[str, nn.Module]:
    """The three served modules by name, with these tables."""

    def customer_tables(profile: npt.NDArray[np.float32], bought: torch.Tensor) -> CustomerTables:
        return CustomerTables(tables.customers, tables.trips, profile, bought, tables.cutoff)

    def product_tables(*, features: bool) -> ProductTables:
        feature = tables.product_feature if features else None
        return ProductTables(tables.products, tables.product_category, feature, tables.new_product)

    modules: dict[str, nn.Module] = {
        contract.CATEGORY_AFFINITY.name: CategoryAffinity(
            trained.affinity,
            customer_tables(tables.affinity_profile, trained.affinity.bought),
            product_tables(features=False),
            tables.leaves,
            tables.category_feature,
        ),
        contract.PRODUCT_POOL.name: ProductPool(
            trained.demand, product_tables(features=True), tables.category_feature, tables.cutoff
        ),
        contract.COLLABORATIVE_FILTER.name: CollaborativeFilter(
            trained.preference,
            customer_tables(tables.preference_profile, trained.preference.bought),
            product_tables(features=True),
            tables.owned,
            tables.category_feature,
        ),
    }
    return {name: module.eval() for name, module in modules.items()}


def taste_sums(pairs: Pairs, customers: int, bought: torch.Tensor) -> npt.NDArray[np.float32]:
    """Each customer's summed weights and summed embeddings of the leaf categories bought [U, 1 + D].

    Column by column, since customers times categories would fill the memory: 5 million times 2,400 are 48 GB.

    Args:
        pairs: histories with leaf categories.
        customers: how many there are (U).
        bought: what a purchase in each category adds to taste [C, D].
    """
    weight, customer, item = season_weights(pairs.rows), pairs.customer, pairs.item
    embedding = bought.detach().numpy()
    sums = np.empty((customers, 1 + embedding.shape[1]), np.float32)
    sums[:, 0] = np.bincount(customer, weight, customers)
    for column in range(embedding.shape[1]):
        sums[:, 1 + column] = np.bincount(customer, weight * embedding[item, column], customers)
    return sums


def _pair_map(
    owner: npt.NDArray[np.int64], item: npt.NDArray[np.int64], rows: npt.NDArray[np.uint8], owners: int
) -> PairMap:
    return PairMap.of(build_pair_tables(owner, item, owners), item, rows)
