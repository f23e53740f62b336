"""Models whose answers are simple functions of ids, for tests of what is asked and kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

from ensemble import contract
from ensemble.data.dataset import Dataset
from ensemble.evaluation.history import Past
from ensemble.evaluation.studies.kept_outputs import Outputs
from ensemble.evaluation.study import Scene
from ensemble.evaluation.truth import merchandise_of
from ensemble.ranking import RankingSettings
from ensemble.tensors import Tensors

Logits = Callable[[npt.NDArray[Any], npt.NDArray[Any]], npt.NDArray[Any]]


def noise(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Between -6 and 0, and different for nearly all pairs."""
    return -((one * 7919 + other * 104729) % 9973) / 9973 * 6


def weight_of_affinity(customer: npt.NDArray[Any], product: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Between 0.5 and 1, and another one for nearly all pairs."""
    return 1 + noise(customer + 1, product) / 12


def weight_of_demand(customer: npt.NDArray[Any], product: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Between -0.5 and 1, and another one for nearly all pairs."""
    return 1 + noise(customer + 2, product) / 4


class FakeModels:
    """Answers by customer and leaf category, by product, and by customer and product."""

    def __init__(
        self,
        affinity: Logits = noise,
        demand: Callable[[npt.NDArray[Any]], npt.NDArray[Any]] = lambda product: noise(product, product) / 6,
        preference: Logits = noise,
    ) -> None:
        self._affinity, self._demand, self._preference = affinity, demand, preference

    def outputs(self, model: contract.ModelSpec, tensors: Tensors) -> dict[str, npt.NDArray[Any]]:
        given = {spec.name: np.ascontiguousarray(tensors[spec.name], spec.dtype) for spec in model.inputs}
        assert max(map(len, given.values())) <= contract.MAX_BATCH_SIZE
        if model is contract.PRODUCT_POOL:
            return {"demand": self._demand(given["product_id"]).astype(np.float32)}
        customer = given["customer_id"]
        if model is contract.CATEGORY_AFFINITY:
            return {"affinity": self._affinity(customer, given["category_id"]).astype(np.float32)}
        said = self._preference(customer, given["product_id"]).astype(np.float32)
        weights = (weight(customer, given["product_id"]) for weight in (weight_of_affinity, weight_of_demand))
        affinity_weight, demand_weight = (weight.astype(np.float32) for weight in weights)
        return {
            "preference": said,
            "novelty": np.zeros_like(said),
            "affinity_weight": affinity_weight,
            "demand_weight": demand_weight,
        }


def scene_of(shop: Dataset, weeks: tuple[int, ...] = (10, 11), settings: RankingSettings | None = None) -> Scene:
    """All customers and merchandise of the shop; of the release, only the ranking's settings are there."""
    return Scene(
        dataset=shop,
        merchandise=merchandise_of(shop.products),
        customers=np.unique(shop.purchases["customer_id"].to_numpy()),
        weeks=weeks,
        trained=SimpleNamespace(settings=settings or RankingSettings()),  # type: ignore[arg-type]  # nets aren't asked
        progress=lambda _stage, _fraction: None,
    )


def outputs_by(models: FakeModels, scene: Scene) -> Outputs:
    """What a scene's studies are told when ``models`` answer."""

    @contextmanager
    def opened(_past: Past) -> Iterator[FakeModels]:
        yield models

    return Outputs(scene, opened)
