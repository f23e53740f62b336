"""A release of any size: trained nets, with the tables of a made-up shop around them."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ensemble import configs, contract
from ensemble.assembly import served_modules
from ensemble.data.dataset import DEFAULT_WEEK, Progress, silent
from ensemble.models.category_affinity import AffinityNet
from ensemble.models.collaborative_filter import PreferenceNet
from ensemble.models.product_pool import DemandNet
from ensemble.release import sample_rows, weights_path, write_release
from ensemble.releases.layout import TRAINING
from ensemble.scale.shop import Size, make_shop
from ensemble.scale.tables import write_tables
from ensemble.training.weights import Trained

_EVERYTHING = 2**63


def make_release(
    size: Size,
    trained: Trained,
    out_dir: Path,
    version: int = 1,
    catalog: Path | None = None,
    *,
    embedded: bool = False,
    progress: Progress = silent,
) -> dict[str, float]:
    """Write a release of this size: everything that a release has, configurations included.

    Args:
        size: customers, products, leaf categories, histories.
        trained: nets and the ranking's settings; the nets are stretched to the shop's leaf categories.
        out_dir: the model repository; created where missing.
        version: number of the release and of its version folders.
        catalog: see ``make_shop``.
        embedded: put the tables into the ONNX files, whatever their size, to compare.
        progress: told the stage and the fraction done.

    Returns:
        The largest difference between torch and ONNX Runtime for each model.

    Raises:
        RacksortError: the catalog can't be read, or the tables can't be numbered or don't fit into the ONNX files.
    """
    trained = stretched(trained, size.leaves + 1)
    shop = make_shop(size, catalog)
    folders = {spec.name: out_dir / spec.name / str(version) for spec in contract.ONNX_MODELS}
    tables, stored = write_tables(shop, size, trained, folders, progress)
    rows = sample_rows(shop.customer_id, shop.product_id, shop.category, tables.cutoff)
    models = served_modules(tables, trained)
    if embedded:
        worst = write_release(models, trained, rows, out_dir, version, progress, inside=_EVERYTHING)
    else:
        worst = write_release(models, trained, rows, out_dir, version, progress, stored=stored)
    versions = {model.name: version for model in contract.MODELS}
    configs.write(out_dir, configs.generate(version, versions, tables.cutoff))
    summary = trained.summary | {"week": DEFAULT_WEEK, "parity": worst, "synthetic": asdict(size)}
    weights_path(out_dir, version).with_name(TRAINING).write_text(json.dumps(summary, indent=2) + "\n")
    return worst


def stretched(trained: Trained, categories: int) -> Trained:
    """The same nets for category ids 0..``categories`` - 1: new ones get the weights of the known ones in turn."""
    nets: dict[str, Any] = {
        "affinity": AffinityNet(categories),
        "demand": DemandNet(categories),
        "preference": PreferenceNet(categories),
    }
    number = np.arange(categories)
    at = np.where(number < trained.categories, number, (number - 1) % (trained.categories - 1) + 1)
    for name, net in nets.items():
        known: nn.Module = getattr(trained, name)
        state = known.state_dict()
        for key, wanted in net.state_dict().items():
            if state[key].shape != wanted.shape:
                state[key] = state[key][torch.from_numpy(at)]
        net.load_state_dict(state)
        net.eval()
    return replace(trained, **nets)
