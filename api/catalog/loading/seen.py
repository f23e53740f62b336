"""The products that were there before, in 8 bytes each."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int64]


class Seen:
    """A growing set of ids. It is kept as sorted runs, a few of growing length, so that adding stays cheap."""

    def __init__(self) -> None:
        self._runs: list[Ids] = []

    def add(self, ids: Ids) -> npt.NDArray[np.bool_]:
        """Add ``ids``; returns which of them were there before, or came before among them."""
        fresh, first = np.unique(ids, return_index=True)
        repeated = np.ones(ids.size, np.bool_)
        repeated[first] = self._holds(fresh)
        run = np.sort(ids[~repeated])
        while self._runs and self._runs[-1].size <= 2 * run.size:
            run = np.sort(np.concatenate((self._runs.pop(), run)), kind="stable")
        self._runs.append(run)
        return repeated

    def _holds(self, ids: Ids) -> npt.NDArray[np.bool_]:
        held = np.zeros(ids.size, np.bool_)
        for run in self._runs:
            place = np.searchsorted(run, ids)
            inside = place < run.size
            held[inside] |= run[place[inside]] == ids[inside]
        return held
