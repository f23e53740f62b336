"""The models as they are served: the learned part with a release's vocabularies and tables around it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from ensemble.models.category_affinity import AffinityNet, gather_rows
from ensemble.models.collaborative_filter import PreferenceNet
from ensemble.models.history import HALF_LIVES, HistoryDecoder, PairTable, add_events, weigh_events
from ensemble.models.layers import BOUGHT, customer_features, history_features
from ensemble.models.product_pool import DemandNet
from ensemble.models.static_map import StaticMap, StaticTable

_SEASON = 2
"""Half-life that taste fades by: the longest."""


class Recent:
    """A request's recent events by kind of key, and what they add to a history of that kind."""

    def __init__(self, product_id: Tensor, category: Tensor, age: Tensor) -> None:
        """Weigh events of products [B, R] (0 = padding), their leaf categories (0 = unknown) and ages in days."""
        self.product_id, self.category = product_id, category
        real = product_id != 0
        # A shopping trip is an event of any product; so is it of the one key 0.
        trip = torch.zeros_like(category)
        key = torch.stack((trip.to(torch.int64), product_id, category.to(torch.int64)), 1)
        weight = weigh_events(key, age, torch.stack((real, real, category > 0), 1))
        self.per_trip, self.per_product, self.per_category = weight[:, 0], weight[:, 1], weight[:, 2]


class CustomerTables(nn.Module):
    """What the release knows of each customer: trips, basket size and taste."""

    trips: Tensor
    bought: Tensor
    profile: Tensor
    cutoff: Tensor

    def __init__(
        self,
        table: StaticTable,
        trips: npt.NDArray[np.uint8],
        profile: npt.NDArray[np.float32],
        bought: Tensor,
        cutoff: float,
    ) -> None:
        """Arrange the tables by slot.

        Args:
            table: hash table over customer ids.
            trips: packed trips [U, 8].
            profile: basket size, summed weights and summed embeddings of taste [U, 2 + D] as of the cutoff.
            bought: what a purchase in each category adds to taste [C, D].
            cutoff: days since 1970-01-01 UTC.
        """
        super().__init__()
        self.slot = StaticMap(table)
        self.decode = HistoryDecoder()
        self.register_buffer("trips", torch.from_numpy(table.arrange(trips)))
        self.register_buffer("profile", torch.from_numpy(table.arrange(profile)))
        self.register_buffer("bought", bought.detach().clone())
        self.register_buffer("cutoff", torch.tensor(cutoff, dtype=torch.float32))

    def forward(self, customer_id: Tensor, recent: Recent, context: Tensor) -> Customer:
        """Everything about the rows' customers, as of now."""
        slot = self.slot(customer_id)
        elapsed = torch.relu(context[:, :1] - self.cutoff)
        trips = self.decode(functional.embedding(slot, self.trips), elapsed, recent.per_trip.sum(2, keepdim=True))
        profile = functional.embedding(slot.squeeze(1), self.profile)
        fade = torch.exp(elapsed * (-math.log(2) / HALF_LIVES[_SEASON]))
        added = recent.per_category[:, _SEASON]
        events = functional.embedding(recent.category, self.bought)
        total = profile[:, 2:] * fade + (added[:, None] @ events).squeeze(1)
        weight = profile[:, 1:2] * fade + added.sum(1, keepdim=True)
        return Customer(slot, elapsed, customer_features(trips, profile[:, :1, None]), total, weight)


@dataclass(frozen=True, slots=True)
class Customer:
    """The rows' customers as of now.

    Attributes:
        slot: positions in the pair tables [B, 1].
        elapsed: days since the cutoff [B, 1].
        feature: ``customer_features`` [B, 6, 1]; the last one is 1 for customers with a history.
        total: summed embeddings of taste [B, D].
        weight: their summed weights [B, 1].
    """

    slot: Tensor
    elapsed: Tensor
    feature: Tensor
    total: Tensor
    weight: Tensor


class CategoryRange(nn.Module):
    """Category ids are positions already; those outside the vocabulary become 0, "unknown"."""

    def __init__(self, categories: int) -> None:
        super().__init__()
        self.categories = categories

    def forward(self, category_id: Tensor) -> Tensor:
        """Positions of the same shape, int32."""
        # As unsigned numbers negative ids would be large ones; two comparisons do the same on every device.
        held = (category_id > 0) & (category_id < self.categories)
        return torch.where(held, category_id, 0)


class ProductTables(nn.Module):
    """What the release knows of each product: its leaf category and its features."""

    feature: Tensor
    category: Tensor

    def __init__(
        self,
        table: StaticTable,
        category: npt.NDArray[np.int32],
        feature: npt.NDArray[np.float32] | None,
        unknown: npt.NDArray[np.float32] | None,
    ) -> None:
        """Arrange the tables by slot.

        Args:
            table: hash table over product ids.
            category: leaf category of each [P].
            feature: [P, F], stored as float16; none where a model needs the categories alone.
            unknown: the row [F] of products that the table doesn't hold.
        """
        super().__init__()
        self.slot = StaticMap(table)
        self.register_buffer("category", torch.from_numpy(table.arrange(category.astype(np.int16))))
        if feature is not None:
            rows = table.arrange(feature.astype(np.float16), 0 if unknown is None else unknown)
            self.register_buffer("feature", torch.from_numpy(rows))

    def category_at(self, slot: Tensor) -> Tensor:
        """Leaf categories (int32) at slots of any shape; 0 = unknown."""
        return functional.embedding(slot, self.category[:, None]).squeeze(-1).to(torch.int32)


def _matched(scores: Tensor, category: Tensor) -> Tensor:
    return torch.gather(scores, 1, category.long())[:, None]


class CategoryAffinity(nn.Module):
    """``category_affinity`` of the contract."""

    feature: Tensor

    def __init__(
        self,
        net: AffinityNet,
        customers: CustomerTables,
        products: ProductTables,
        pairs: PairTable,
        feature: npt.NDArray[np.float32],
    ) -> None:
        super().__init__()
        self.net, self.customers, self.products, self.pairs = net, customers, products, pairs
        self.range = CategoryRange(feature.shape[0])
        self.decode = HistoryDecoder()
        self.register_buffer("feature", torch.from_numpy(feature))

    def forward(
        self, customer_id: Tensor, category_id: Tensor, recent_product_id: Tensor, recent_age: Tensor, context: Tensor
    ) -> Tensor:
        """Logits [B, N]; tensors as in ``ensemble.contract``."""
        category = self.range(category_id)
        recent = Recent(recent_product_id, self.products.category_at(self.products.slot(recent_product_id)), recent_age)
        customer = self.customers(customer_id, recent, context)
        added = add_events(recent.per_category, recent.category, category)
        history = self.decode(self.pairs(customer.slot, category), customer.elapsed, added)
        matched = _matched(self.net.match(customer.total, customer.weight), category)
        feature = gather_rows(self.feature, category)
        logits: Tensor = self.net(history_features(history, feature[:, 4:5]), feature, matched, customer.feature)
        return logits


class CollaborativeFilter(nn.Module):
    """``collaborative_filter`` of the contract."""

    feature: Tensor

    def __init__(
        self,
        net: PreferenceNet,
        customers: CustomerTables,
        products: ProductTables,
        pairs: PairTable,
        leaf_pairs: PairTable,
        feature: npt.NDArray[np.float32],
    ) -> None:
        super().__init__()
        self.net, self.customers, self.products = net, customers, products
        self.pairs, self.leaf_pairs = pairs, leaf_pairs
        self.range = CategoryRange(feature.shape[0])
        self.decode = HistoryDecoder()
        self.register_buffer("feature", torch.from_numpy(feature))

    def forward(
        self,
        customer_id: Tensor,
        product_id: Tensor,
        category_id: Tensor,
        recent_product_id: Tensor,
        recent_age: Tensor,
        context: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Logits and novelty [B, N]; tensors as in ``ensemble.contract``."""
        category, product = self.range(category_id), self.products.slot(product_id)
        recent = Recent(recent_product_id, self.products.category_at(self.products.slot(recent_product_id)), recent_age)
        customer = self.customers(customer_id, recent, context)
        own_feature = gather_rows(self.products.feature, product)
        leaf_feature = gather_rows(self.feature, category)
        # Both levels go through the decoder in one pass, as twice the rows.
        added = torch.cat(
            (
                add_events(recent.per_product, recent_product_id, product_id),
                add_events(recent.per_category, recent.category, category),
            )
        )
        rows = torch.cat((self.pairs(customer.slot, product), self.leaf_pairs(customer.slot, category)))
        history = self.decode(rows, torch.cat((customer.elapsed, customer.elapsed)), added)
        gap = torch.cat((own_feature[:, 4:5], leaf_feature[:, 4:5]))
        seen = history_features(history, gap)
        own, leaf = seen[: seen.shape[0] // 2], seen[seen.shape[0] // 2 :]
        matched = _matched(self.net.match(customer.total, customer.weight), category)
        preference = self.net(own, leaf, own_feature, leaf_feature, matched, customer.feature)
        return preference, customer.feature[:, -1] * (1 - own[:, BOUGHT])


class ProductPool(nn.Module):
    """``product_pool`` of the contract."""

    feature: Tensor
    cutoff: Tensor

    def __init__(
        self, net: DemandNet, products: ProductTables, feature: npt.NDArray[np.float32], cutoff: float
    ) -> None:
        super().__init__()
        self.net, self.products = net, products
        self.range = CategoryRange(feature.shape[0])
        self.register_buffer("feature", torch.from_numpy(feature))
        self.register_buffer("cutoff", torch.tensor(cutoff, dtype=torch.float32))

    def forward(self, product_id: Tensor, category_id: Tensor, offer: Tensor, context: Tensor) -> Tensor:
        """Ln of expected buyers [B, N]; tensors as in ``ensemble.contract``."""
        category = self.range(category_id)
        own = gather_rows(self.products.feature, self.products.slot(product_id))
        # A product's newness goes on fading after the cutoff.
        fade = torch.exp(torch.relu(context[:, :1, None] - self.cutoff) * (-math.log(2) / HALF_LIVES[1]))
        own = torch.cat((own[:, :6], own[:, 6:] * fade), 1)
        effect = gather_rows(self.net.effect, category)
        logs: Tensor = self.net(own, gather_rows(self.feature, category), effect, offer.transpose(1, 2))
        return logs
