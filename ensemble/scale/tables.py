"""Tables of more customers than fit into the memory, written some customers at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from ensemble import contract
from ensemble.assembly import ReleaseTables, taste_sums
from ensemble.data.dataset import Progress, silent
from ensemble.errors import RacksortError
from ensemble.models.history import ITEM_BYTES, ROW
from ensemble.models.pair_map import PairMap, arrange_rows, build_pair_tables
from ensemble.models.static_map import Int64s, build_static_table, odd_numbers
from ensemble.releases.layout import TABLE_SUFFIX
from ensemble.scale.features import features
from ensemble.scale.histories import chunks
from ensemble.scale.shop import Shop, Size
from ensemble.table_files import TableFile, TableWriter
from ensemble.training.weights import Trained

_MOST_PLACES: Final = 2**31


class PairWriter:
    """Writes the tables of a ``PairMap``, owners in their order, some at a time."""

    def __init__(self, folder: Path, seed: int) -> None:
        """Make the files; ``seed`` is of the hash tables' multipliers."""
        self._rng = np.random.default_rng(seed)
        self._spread = odd_numbers(self._rng, 1)[0]
        self._rows = TableWriter(folder / f"pairs.rows{TABLE_SUFFIX}", np.uint8, len(ROW) + ITEM_BYTES)
        self._multiplier = TableWriter(folder / f"pairs.multiplier{TABLE_SUFFIX}", np.int32, 1)
        self._middle = TableWriter(folder / f"pairs.middle{TABLE_SUFFIX}", np.int32, 2)
        self._scale = TableWriter(folder / f"pairs.scale{TABLE_SUFFIX}", np.float32, 2)

    def append(self, owner: Int64s, item: Int64s, rows: npt.NDArray[np.uint8], owners: int) -> None:
        """Write the pairs of the next ``owners``.

        Args:
            owner: whose each pair is, among these owners [n], 0..``owners`` - 1.
            item: item position of each [n].
            rows: packed history of each [n, 9].
            owners: how many there are, with or without pairs.

        Raises:
            RacksortError: more places in all than the graph can number.
        """
        seed = int(self._rng.integers(2**31))
        tables = build_pair_tables(owner, item, owners, seed, self._spread)
        before = (self._multiplier.rows, self._rows.rows)
        if before[1] + tables.slots.size >= _MOST_PLACES:
            raise RacksortError("more histories than 2^31 places, to which the graph counts: give fewer customers")
        middle, scale = tables.ranges()
        self._middle.append(middle + np.array(before, np.int32))
        self._scale.append(scale)
        self._multiplier.append(tables.multiplier)
        self._rows.append(arrange_rows(tables, item, rows))

    def close(self) -> tuple[PairMap, list[TableFile]]:
        """The map, on the files' pages, and the files."""
        files = [writer.close() for writer in (self._rows, self._multiplier, self._middle, self._scale)]
        return PairMap(int(self._spread), *(file.array() for file in files)), files


def write_tables(
    shop: Shop, size: Size, trained: Trained, folders: dict[str, Path], progress: Progress = silent
) -> tuple[ReleaseTables, dict[str, list[TableFile]]]:
    """Draw every customer's history and write the tables that grow with customers into the models' folders.

    Args:
        shop: what there is.
        size: how large it is.
        trained: the nets, whose embeddings are summed up.
        folders: version folder of each ONNX model by name; made where missing.
        progress: told the stage and the fraction done.

    Returns:
        All tables, those that have files on the files' pages; and these files by model.
    """
    progress("hash tables of ids", 0.0)
    customers = build_static_table(shop.customer_id, size.seed)
    progress("hash tables of ids", 0.8)
    products = build_static_table(shop.product_id, size.seed)
    progress("hash tables of ids", 1.0)
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    affinity, preference = folders[contract.CATEGORY_AFFINITY.name], folders[contract.COLLABORATIVE_FILTER.name]
    leaves, owned = PairWriter(affinity, size.seed), PairWriter(preference, size.seed + 1)
    nets = {affinity: trained.affinity.bought, preference: trained.preference.bought}
    trips = [TableWriter(folder / f"customers.trips{TABLE_SUFFIX}", np.uint8, len(ROW)) for folder in nets]
    profiles = {
        folder: TableWriter(folder / f"customers.profile{TABLE_SUFFIX}", np.float32, 2 + bought.shape[1])
        for folder, bought in nets.items()
    }
    for first, last, held, drawn in chunks(shop, size, customers):
        progress("histories", first / customers.slots)
        owners = last - first + (last == customers.slots)  # the last one stands for unknown customers
        where = held - first
        leaves.append(where[drawn.categories.customer], drawn.categories.item, drawn.categories.rows, owners)
        item = products.slot_of[drawn.products.item].astype(np.int64)
        owned.append(where[drawn.products.customer], item, drawn.products.rows, owners)
        by_slot = np.zeros((owners, len(ROW)), np.uint8)
        by_slot[where] = drawn.trips
        for writer in trips:
            writer.append(by_slot)
        for folder, bought in nets.items():
            profile = np.zeros((owners, 2 + bought.shape[1]), np.float32)
            sums = taste_sums(drawn.categories, held.size, bought)
            profile[where] = np.concatenate((drawn.basket[:, None], sums), 1)
            profiles[folder].append(profile)
    progress("histories", 1.0)
    (leaf_map, leaf_files), (owned_map, owned_files) = leaves.close(), owned.close()
    trip_files = [writer.close() for writer in trips]
    profile_files = [writer.close() for writer in profiles.values()]
    made = features(shop, size)
    tables = ReleaseTables(
        customers,
        products,
        trip_files[0].array(),
        profile_files[0].array(),
        profile_files[1].array(),
        leaf_map,
        owned_map,
        shop.category,
        made.product,
        made.category,
        made.new_product,
        made.cutoff,
    )
    files = {
        contract.CATEGORY_AFFINITY.name: [*leaf_files, trip_files[0], profile_files[0]],
        contract.COLLABORATIVE_FILTER.name: [*owned_files, trip_files[1], profile_files[1]],
    }
    return tables, files
