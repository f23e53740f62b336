"""The views in use: the latest used stay, as many as there is room for."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Final

from api.rules.view import View

Held = tuple[str, str | None, tuple[int, ...]]
"""Container, category, and the numbers of the rules that hold: what tells views apart."""

_MOST_VIEWS: Final = 2_048
_MOST_BYTES: Final = 256 * 1024 * 1024
"""Of what all views have made of their pools, about."""


class Views:
    """Finds views by what holds, and lets go those that weren't used for longest."""

    def __init__(self, gone: Callable[[View], None]) -> None:
        """``gone`` hears of each view that is let go."""
        self._gone = gone
        self._found: dict[Held, View] = {}
        self._used: OrderedDict[View, Held] = OrderedDict()
        """The latest used last."""
        self.nbytes = 0
        """What all of them keep."""
        self.used: Callable[[View], None] = self._used.move_to_end
        """To be called with each view that is used."""

    def __iter__(self) -> Iterator[View]:
        return iter(self._used)

    def __len__(self) -> int:
        return len(self._used)

    def find(self, held: Held) -> View | None:
        """The view of these rules; None where there is none."""
        return self._found.get(held)

    def add(self, held: Held, view: View) -> None:
        """Keep a view from now on."""
        self._found[held] = view
        self._used[view] = held
        self._make_room()

    def resized(self, by: int) -> None:
        """So many more bytes are kept of pools."""
        self.nbytes += by
        self._make_room()

    def _make_room(self) -> None:
        while len(self._used) > 1 and (len(self._used) > _MOST_VIEWS or self.nbytes > _MOST_BYTES):
            view, held = self._used.popitem(last=False)
            del self._found[held]
            self.nbytes -= view.retire()
            self._gone(view)
