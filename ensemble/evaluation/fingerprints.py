"""What figures depend on, in a few digits: data, code and the packages that compute."""

from __future__ import annotations

import hashlib
from importlib import metadata
from pathlib import Path
from typing import Final

import polars as pl

import ensemble
from ensemble.data.dataset import Dataset

PACKAGES: Final = ("implicit", "lightgbm", "numpy", "onnxruntime", "polars", "scipy", "threadpoolctl", "torch")
"""Whose versions may change a figure."""


def of_packages() -> dict[str, str | None]:
    """The installed version of each of ``PACKAGES``; None where it isn't installed."""
    versions: dict[str, str | None] = dict.fromkeys(PACKAGES)
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def of_data(dataset: Dataset) -> str:
    """SHA-256 of all tables: names, types, and values in their order; hexadecimal."""
    total = hashlib.sha256()
    for frame in (dataset.purchases, dataset.products, dataset.promotions):
        total.update(repr((frame.shape, dict(frame.schema))).encode())
        for column in frame.iter_columns():
            if column.dtype == pl.String:
                total.update("\0".join(column.to_list()).encode())
            else:
                total.update(column.to_numpy().tobytes())
    return total.hexdigest()


def of_code() -> str:
    """SHA-256 of the package that measures, names and contents of its files; hexadecimal."""
    root = Path(ensemble.__file__).parent
    total = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        content = path.read_bytes()
        total.update(f"{path.relative_to(root)}\0{len(content)}\0".encode())
        total.update(content)
    return total.hexdigest()
