"""Whether what belongs to a release as a whole can be read: the weights and the record of its training."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from ensemble.json_content import parsed
from ensemble.npz import UNREADABLE, require_small
from ensemble.releases.check.finding import Faults
from ensemble.releases.layout import TRAINING, Release

WEIGHTS: Final = "weights.npz"
_AGAIN: Final = "write the candidate again with `racksort train`"


def check(release: Release, faults: Faults, most_bytes: float) -> None:
    """Open both files, as far as they are there.

    Triton reads neither. But the tables of next week are put around these weights, and the model card is written from
    this record, so that a cut file would be noticed when it is needed.

    Args:
        release: none of its files is a link.
        faults: where to add what is wrong.
        most_bytes: what the weights may unpack to.
    """
    for name in (WEIGHTS, TRAINING):
        path = release.extras_dir / name
        if not path.is_file() or not path.stat().st_size:
            continue  # missing or empty, and said so
        what = _weights_fault(path, most_bytes) if name == WEIGHTS else _training_fault(path)
        if what:
            faults.add(f"{release.name}/1/{name}", what, _AGAIN)


def _weights_fault(path: Path, most_bytes: float) -> str:
    """What is wrong with the file of weights; empty where nothing is."""
    try:
        require_small(path, most_bytes)
        with np.load(path, allow_pickle=False) as held:
            for name in held.files:
                array = held[name]
                if array.dtype.kind in "fc" and not np.isfinite(array).all():
                    return f"holds weights that aren't finite ({name})"
    except UNREADABLE as error:
        return f"isn't a whole file of weights ({type(error).__name__}: {error})"
    return ""


def _training_fault(path: Path) -> str:
    """What is wrong with the record of the training; empty where nothing is."""
    try:
        record = parsed(path.read_bytes())
    except (OSError, ValueError) as error:
        return f"isn't JSON ({error})"
    return "" if isinstance(record, dict) else "isn't a JSON object"
