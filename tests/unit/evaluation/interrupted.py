"""Judges the baselines on the synthetic shop in a process of its own, which a test kills.

Arguments: the folder that keeps what is finished; the file for the record; the unit after which to stand still, if any.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from ensemble.data.dataset import silent
from ensemble.evaluation import measuring, report, split
from ensemble.evaluation.baselines import tuned
from ensemble.evaluation.checkpoints import Checkpoints, Kept, Record
from tests.unit.evaluation.conftest import synthetic
from tests.unit.evaluation.shops import FEW, VALIDATION_WEEKS, WEEKS


def tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(root: Path, target: Path, stop_at: str) -> None:
    split.VALIDATION_WEEKS = VALIDATION_WEEKS  # type: ignore[misc] # the shop has no others
    tuned.GRIDS = FEW  # type: ignore[misc] # a short search

    class Told(Checkpoints):
        """Says what it makes, and stands still within the unit at which it is to be killed."""

        def unit(self, name: str, inputs: Record, make: Callable[[], Kept]) -> Kept:
            def said() -> Kept:
                tell(f"making {name}")
                while name == stop_at:
                    time.sleep(1.0)
                return make()

            return super().unit(name, inputs, said)

    shop = synthetic()
    kept = Told(root, {"data": "synthetic"}, time.monotonic, tell)
    result = measuring.Comparison(shop, None, silent, kept, WEEKS).result()
    target.write_text(json.dumps(report.record(result, shop.source, None)["settings"]))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), "".join(sys.argv[3:]))
