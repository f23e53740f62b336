"""The models as they are served: the learned part with a release's vocabularies and tables around it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from ensemble.models.category_affinity import ITEM_FEATURES, AffinityNet, feature_major, gather_rows
from ensemble.models.collaborative_filter import PreferenceNet
from ensemble.models.history import HALF_LIVES, HistoryDecoder, add_events, weigh_events
from ensemble.models.layers import BOUGHT, MAILER, PRODUCT_FEATURES, customer_features, history_features
from ensemble.models.pair_map import PairMap
from ensemble.models.product_pool import LONG_RUN, NEWNESS, DemandNet
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
        """Take over tables that ``table`` has arranged by slot.

        Args:
            table: hash table over customer ids.
            trips: packed trips [slots + 1, 9].
            profile: basket size, summed weights and summed embeddings of taste [slots + 1, 2 + D] as of the cutoff.
            bought: what a purchase in each category adds to taste [C, D].
            cutoff: days since 1970-01-01 UTC.
        """
        super().__init__()
        self.slot = StaticMap(table)
        self.decode = HistoryDecoder()
        self.register_buffer("trips", torch.from_numpy(trips))
        self.register_buffer("profile", torch.from_numpy(profile))
        self.register_buffer("bought", bought.detach().clone())
        self.register_buffer("cutoff", torch.tensor(cutoff, dtype=torch.float32))

    def forward(self, customer_id: Tensor, recent: Recent | None, context: Tensor) -> Customer:
        """Everything about the rows' customers, as of now."""
        slot = self.slot(customer_id)
        elapsed = torch.relu(context[:, :1] - self.cutoff)
        new = None if recent is None else recent.per_trip.sum(2, keepdim=True)
        trips = self.decode(functional.embedding(slot, self.trips), elapsed, new)
        profile = functional.embedding(slot.squeeze(1), self.profile)
        fade = torch.exp(elapsed * (-math.log(2) / HALF_LIVES[_SEASON]))
        total, weight = profile[:, 2:] * fade, profile[:, 1:2] * fade
        if recent is not None:
            added = recent.per_category[:, _SEASON]
            events = functional.embedding(recent.category, self.bought)
            total = total + (added[:, None] @ events).squeeze(1)
            weight = weight + added.sum(1, keepdim=True)
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
        self.register_buffer("category", torch.from_numpy(table.arrange(category.astype(np.int16)))[:, None])
        if feature is not None:
            rows = table.arrange(feature.astype(np.float16), 0 if unknown is None else unknown)
            self.register_buffer("feature", torch.from_numpy(rows))

    def recent(self, product_id: Tensor, age: Tensor) -> Recent:
        """The requests' recent events of products [B, R]."""
        return Recent(product_id, self.category_at(self.slot(product_id)), age)

    def category_at(self, slot: Tensor) -> Tensor:
        """Leaf categories (int32) at slots of any shape; 0 = unknown."""
        return functional.embedding(slot, self.category).squeeze(-1).to(torch.int32)


def _matched(scores: Tensor, category: Tensor) -> Tensor:
    return torch.gather(scores, 1, category.long())[:, None]


class CustomerModel(nn.Module):
    """A model that takes recent events."""

    events = True
    """Without, the events are ignored: the same answer at less cost for a batch that has none."""


class CategoryAffinity(CustomerModel):
    """``category_affinity`` of the contract."""

    feature: Tensor

    def __init__(
        self,
        net: AffinityNet,
        customers: CustomerTables,
        products: ProductTables,
        pairs: PairMap,
        feature: npt.NDArray[np.float32],
    ) -> None:
        """Set up.

        Args:
            net: the learned part.
            customers: tables of the customers.
            products: the products' leaf categories.
            pairs: histories with leaf categories; the owner is the customer.
            feature: the leaf categories' [C, 7].
        """
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
        recent = self.products.recent(recent_product_id, recent_age) if self.events else None
        customer = self.customers(customer_id, recent, context)
        added = None if recent is None else add_events(recent.per_category, recent.category, category)
        history = self.decode(self.pairs(customer.slot, category), customer.elapsed, added, category)
        matched = _matched(self.net.match(customer.total, customer.weight), category)
        feature = gather_rows(self.feature, category)
        logits: Tensor = self.net(history_features(history, feature[:, 4:5]), feature, matched, customer.feature)
        return logits


class CollaborativeFilter(CustomerModel):
    """``collaborative_filter`` of the contract."""

    feature: Tensor

    def __init__(
        self,
        net: PreferenceNet,
        customers: CustomerTables,
        products: ProductTables,
        pairs: PairMap,
        feature: npt.NDArray[np.float32],
    ) -> None:
        """Set up.

        Args:
            net: the learned part.
            customers: tables of the customers.
            products: tables of the products.
            pairs: histories with products; the owner is the customer.
            feature: the leaf categories' [C, 7].
        """
        super().__init__()
        self.net, self.customers, self.products, self.pairs = net, customers, products, pairs
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
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Logits, novelty and the weights of affinity and demand, [B, N] each; tensors as in ``ensemble.contract``."""
        category, product = self.range(category_id), self.products.slot(product_id)
        recent = self.products.recent(recent_product_id, recent_age) if self.events else None
        customer = self.customers(customer_id, recent, context)
        own_feature = gather_rows(self.products.feature, product)
        added = None if recent is None else add_events(recent.per_product, recent_product_id, product_id)
        history = self.decode(self.pairs(customer.slot, product), customer.elapsed, added, product)
        own = history_features(history, own_feature[:, 4:5])
        matched = _matched(self.net.match(customer.total, customer.weight), category)
        leaf_feature = gather_rows(self.feature, category)
        mailer = history.mailer
        if recent is not None:  # of what was first bought after the cutoff, the mailer's share is the product's own
            mailer = mailer + (history.bought - history.noted) * own_feature[:, MAILER, None]
        said = self.net(own, mailer, own_feature, leaf_feature, matched, customer.feature)
        novelty = customer.feature[:, -1] * (1 - own[:, BOUGHT])
        return said[:, 0], novelty, said[:, 1], said[:, 2]


class ProductPool(nn.Module):
    """``product_pool`` of the contract."""

    feature: Tensor
    fading: Tensor
    cutoff: Tensor

    def __init__(
        self, net: DemandNet, products: ProductTables, feature: npt.NDArray[np.float32], cutoff: float
    ) -> None:
        super().__init__()
        self.net, self.products = net, products
        self.range = CategoryRange(feature.shape[0])
        effect = net.effect.detach().numpy()
        self.register_buffer("feature", torch.from_numpy(np.concatenate((feature, effect), 1)))
        self.register_buffer("fading", torch.eye(PRODUCT_FEATURES)[None, :, NEWNESS, None], persistent=False)
        self.register_buffer("cutoff", torch.tensor(cutoff, dtype=torch.float32))

    def forward(self, product_id: Tensor, category_id: Tensor, offer: Tensor, context: Tensor) -> Tensor:
        """Ln of expected buyers over the long-run rate [B, N]; tensors as in ``ensemble.contract``."""
        category, product = self.range(category_id), self.products.slot(product_id)
        own = gather_rows(self.products.feature, product)
        # A product's newness goes on fading after the cutoff.
        fade = torch.exp(torch.relu(context[:, :1, None] - self.cutoff) * (-math.log(2) / HALF_LIVES[1]))
        own = own * (1 - self.fading + self.fading * fade)
        leaf = gather_rows(self.feature, category)
        logs: Tensor = self.net(own, leaf[:, :ITEM_FEATURES], leaf[:, ITEM_FEATURES:], feature_major(offer))
        lift: Tensor = (logs - own[:, LONG_RUN]) * (product != self.products.slot.slots).float()
        return lift
