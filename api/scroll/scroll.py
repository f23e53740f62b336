"""Pages of one scroll: no product twice, none skipped, and no memory of it but the cursor.

::

    first page:  rank the pool's best 1,024 -> page, and a cursor with their set and the order of the rest
    next pages:  the cursor's order, less what has sold out meanwhile          (nothing is ranked)
    at its end:  rank the next 1,024 by id that weren't in the first window    -> page, and so on to the last product

Whoever asks with the cursor may meet another replica, another release and other pools: what was offered is told by the
cursor alone.
"""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import Final
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from api.scroll.position import NOTHING, Ids, Position, decode, encode
from api.scroll.seal import Seal
from api.scroll.stock import Stock, Window
from api.types import Pool, Query, Ranking, Source

_CUSTOMER: Final = struct.Struct(">?q")


class Scroll:
    """Reads and writes cursors."""

    def __init__(self, seal: Seal) -> None:
        """Seal cursors with ``seal``."""
        self._seal = seal
        self._stocks: WeakKeyDictionary[Pool, Stock] = WeakKeyDictionary()

    def begin(self, query: Query, pool: Pool, ranking: Ranking, order: Ids) -> str | None:
        """The cursor behind the first page; None where the page shows all there is.

        Args:
            query: the first page's.
            pool: its pool.
            ranking: what is on the page.
            order: all of the pool's candidates, best first; it begins with the page's products.
        """
        shown = ranking.product_id.size
        stock = self._stock(pool)
        fits = max(stock.first_fits, shown)
        if order.size != stock.first.size or order.size > fits:
            first = np.sort(order[:fits])
            position = Position(first, NOTHING, order[shown:fits], shown, ranking.source, ranking.release)
            return self._cursor(query, stock, pool, position)
        position = Position(stock.first, NOTHING, order[shown:], shown, ranking.source, ranking.release)
        if ranking.source is Source.POPULARITY:
            return self._cursor(query, stock, pool, position)
        places = np.empty(order.size, np.uint64)
        places[np.argsort(order)] = np.arange(order.size)  # a third of the time that looking each up takes
        return self._cursor(query, stock, pool, position, places[shown:])

    def position(self, query: Query) -> Position:
        """Where the scroll of ``query.cursor`` stands.

        Raises:
            CursorInvalid, CursorExpired: the cursor can't be used.
        """
        return decode(self._seal.open(query.cursor or "", _scroll_of(query)))

    def still_there(self, pool: Pool, position: Position) -> Ids:
        """What is left of the current window and can be shown now, best first."""
        return self._stock(pool).still_there(position)

    def window(self, pool: Pool, position: Position) -> Window | None:
        """The candidates to rank when nothing is left of the current window; None at the end."""
        return self._stock(pool).window(pool, position)

    def after(self, query: Query, pool: Pool, position: Position, rest: Ids, shown: int) -> str | None:
        """The cursor behind a page that shows the first ``shown`` of ``rest``; None at the end."""
        position = replace(position, order=rest[shown:], shown=position.shown + shown)
        return self._cursor(query, self._stock(pool), pool, position)

    def after_blindly(self, query: Query, position: Position, shown: int) -> str:
        """The same where nobody knows what can be shown now."""
        position = replace(position, order=position.order[shown:], shown=position.shown + shown)
        return self._seal.close(encode(position), _scroll_of(query))

    def _cursor(
        self,
        query: Query,
        stock: Stock,
        pool: Pool,
        position: Position,
        places: npt.NDArray[np.uint64] | None = None,
    ) -> str | None:
        if not position.order.size and stock.window(pool, position) is None:
            return None
        carried = stock.own_cursor(position)
        if carried is None:
            carried = encode(position, stock.first_set if stock.begins(position) else None, places)
        return self._seal.close(carried, _scroll_of(query))

    def _stock(self, pool: Pool) -> Stock:
        stock = self._stocks.get(pool)
        if stock is None:
            stock = self._stocks[pool] = Stock(pool)
        return stock


def _scroll_of(query: Query) -> bytes:
    """What a cursor is given out for: another container, category or customer is another scroll."""
    known = bool(query.customer_id)  # 0 is nobody, like none
    category = (query.category or "").encode()
    return b"".join(
        (
            _CUSTOMER.pack(known, query.customer_id or 0),
            struct.pack(">?I", query.category is not None, len(category)),
            category,
            query.container_id.encode("utf-8", "surrogatepass"),
        )
    )
