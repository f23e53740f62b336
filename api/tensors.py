"""From pools and queries to the bytes of a batch: everything that is the same for many requests is encoded once.

A pool's tensors are padded and encoded when its first request comes (:meth:`Candidates.of`) and kept as long as the
pool lives. A row checks and encodes its own few numbers, so that a row which can't be encoded fails alone, before it
meets its batch mates. A batch is then a matter of joining bytes.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from api.errors import RowInvalid
from api.types import Pool, Recent
from ensemble import contract

_CUSTOMER: Final = struct.Struct("<q")
_CONTEXT: Final = struct.Struct(f"<{len(contract.CONTEXT)}f")


@dataclass(frozen=True, slots=True)
class Candidates:
    """A pool's first ``contract.MAX_CANDIDATES`` products as wire bytes, padded to ``bucket``."""

    bucket: int
    count: int
    """How many there are, without the padding."""
    product_id: bytes
    category_id: bytes
    offer: bytes
    boost: bytes
    sums: tuple[int, int]
    """Sum and sum of squares of the products that aren't excluded, modulo 2^64: see :meth:`Batch.flaw`."""

    @classmethod
    def of(cls, pool: Pool) -> Candidates:
        """Check and encode a pool.

        Raises:
            RowInvalid: shapes or types differ from the contract; an offer isn't finite; a boost is NaN or +inf.
        """
        size = pool.product_id.shape[0]
        columns = len(contract.OFFER)
        _expect(pool, "product_id", pool.product_id, np.int64, (size,))
        _expect(pool, "category_id", pool.category_id, np.int32, (size,))
        _expect(pool, "offer", pool.offer, np.float32, (size, columns))
        _expect(pool, "boost", pool.boost, np.float32, (size,))
        count = min(size, contract.MAX_CANDIDATES)
        offer, boost = pool.offer[:count], pool.boost[:count]
        if not np.isfinite(offer).all():
            raise RowInvalid(f"pool {pool.container_id!r}: an offer isn't finite")
        if np.isnan(boost).any() or np.isposinf(boost).any():
            raise RowInvalid(f"pool {pool.container_id!r}: a boost is NaN or +inf; only -inf has a meaning (excluded)")
        bucket = contract.bucket_for(count)
        return cls(
            bucket,
            count,
            _padded(pool.product_id[:count], bucket),
            _padded(pool.category_id[:count], bucket),
            _padded(offer, bucket),
            _padded(boost, bucket),
            _sums(pool.product_id[:count][boost != contract.EXCLUDED]),
        )


class Row(NamedTuple):
    """One request as wire bytes."""

    candidates: Candidates
    customer_id: bytes
    recent_product_id: bytes
    recent_age: bytes
    context: bytes

    @classmethod
    def of(
        cls, candidates: Candidates, customer_id: int | None, recent: Recent | None, *, day: float, page_size: int
    ) -> Row:
        """Check and encode one request.

        Args:
            candidates: the pool's tensors.
            customer_id: None for a visitor who isn't known.
            recent: the customer's latest events, where known.
            day: now, as days since 1970-01-01 UTC.
            page_size: how many leading products will be shown; 0 for all.

        Raises:
            RowInvalid: a number doesn't fit its tensor.
        """
        recent_product_id, recent_age = (_NO_PRODUCTS, _NO_AGES) if recent is None else _encode(recent)
        try:
            customer = _ANONYMOUS if customer_id is None else _CUSTOMER.pack(customer_id)
            context = _CONTEXT.pack(day, page_size)
        except (struct.error, OverflowError) as error:
            raise RowInvalid(f"customer {customer_id!r}, day {day!r}, page size {page_size!r}: {error}") from error
        return cls(candidates, customer, recent_product_id, recent_age, context)


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows that travel in one call, padded to the largest of their buckets."""

    rows: tuple[Row, ...]
    metadata: tuple[tuple[str, str], ...] = ()
    """What the server is told besides: the trace that the call belongs to."""
    bucket: int = field(init=False)
    """Candidates of each row, padding included."""

    def __post_init__(self) -> None:
        """Look for the largest bucket once: encoding, decoding and checking ask for it."""
        object.__setattr__(self, "bucket", max([row.candidates.bucket for row in self.rows]))

    def parts(self) -> tuple[Sequence[bytes], ...]:
        """Each tensor's little-endian C-order bytes, piece by piece, in the order of ``contract.ENSEMBLE_INPUTS``."""
        candidates, customers, recent_products, recent_ages, contexts = zip(*self.rows, strict=True)
        missing = [self.bucket - each.bucket for each in candidates]
        return (
            customers,
            _widened([each.product_id for each in candidates], missing, contract.PRODUCT_ID),
            _widened([each.category_id for each in candidates], missing, contract.CATEGORY_ID),
            _widened([each.offer for each in candidates], missing, contract.OFFERS),
            _widened([each.boost for each in candidates], missing, contract.BOOST),
            recent_products,
            recent_ages,
            contexts,
        )

    def flaw(self, ranked: npt.NDArray[np.int64]) -> str:
        """What is wrong with an answer to this batch; empty where nothing is.

        Each row must hold its own candidates, each once, without the excluded ones, and padding behind them. Two sums
        over each row tell an order of the same products from anything else but a wilful forgery, for a fiftieth of
        what sorting would cost.

        Args:
            ranked: [B, N] as the ensemble answers.
        """
        if ranked.shape != (len(self.rows), self.bucket) or ranked.dtype != np.int64:
            return f"it is {ranked.dtype}{list(ranked.shape)}, not int64[{len(self.rows)}, {self.bucket}]"
        unsigned = ranked.view(np.uint64)
        expected = np.array([row.candidates.sums for row in self.rows], np.uint64)
        if (unsigned.sum(1) != expected[:, 0]).any() or (
            np.einsum("bn,bn->b", unsigned, unsigned) != expected[:, 1]
        ).any():
            return "a row doesn't hold its own candidates, each once"
        shown = ranked != contract.PADDING
        if (shown[:, 1:] > shown[:, :-1]).any():
            return "a row has padding before a product"
        return ""

    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the tensors, in the order of the contract."""
        return shapes(len(self.rows), self.bucket)

    def tensors(self) -> dict[str, npt.NDArray[np.generic]]:
        """The tensors by name, read-only: what a server sees of the batch."""
        return {
            spec.name: np.frombuffer(b"".join(rows), dtype=spec.dtype).reshape(shape)
            for spec, rows, shape in zip(contract.ENSEMBLE_INPUTS, self.parts(), self.shapes(), strict=True)
        }


def shapes(rows: int, bucket: int) -> tuple[tuple[int, ...], ...]:
    """Shapes of the ensemble's inputs for so many rows of a bucket, in the order of the contract."""
    return tuple(
        (rows, *(bucket if size == contract.N else size for size in spec.dims)) for spec in contract.ENSEMBLE_INPUTS
    )


def _sums(product_id: npt.NDArray[np.int64]) -> tuple[int, int]:
    unsigned = product_id.astype(np.uint64)
    return int(unsigned.sum()), int((unsigned * unsigned).sum())


def _expect(
    pool: Pool, name: str, array: npt.NDArray[np.generic], dtype: npt.DTypeLike, shape: tuple[int, ...]
) -> None:
    if array.dtype != dtype or array.shape != shape:
        raise RowInvalid(
            f"pool {pool.container_id!r}: {name} is {array.dtype}{list(array.shape)}, "
            f"not {np.dtype(dtype)}{list(shape)}"
        )


def _widened(rows: list[bytes], missing: Sequence[int], spec: contract.TensorSpec) -> list[bytes]:
    """The rows, each followed by as many padding candidates as it is ``missing``."""
    if not any(missing):
        return rows
    size = np.dtype(spec.dtype).itemsize * math.prod(spec.dims[1:])
    return [piece for row, more in zip(rows, missing, strict=True) for piece in (row, _zeros(more * size))]


@cache
def _zeros(size: int) -> bytes:
    """Padding: some forty sizes exist, 16 KB at most."""
    return bytes(size)


def _padded(array: npt.NDArray[np.generic], size: int) -> bytes:
    """The array's bytes, filled up with zeros to ``size`` entries."""
    raw = np.ascontiguousarray(array).tobytes()
    return raw.ljust(size * (array.itemsize * int(np.prod(array.shape[1:]))), b"\0")


def _encode(recent: Recent) -> tuple[bytes, bytes]:
    products = recent.product_id[: contract.RECENT].astype(np.int64)
    ages = recent.age[: contract.RECENT].astype(np.float32)
    if products.shape != ages.shape or products.ndim != 1:
        raise RowInvalid(f"recent: {products.shape} products, {ages.shape} ages; one age belongs to each product")
    if not np.isfinite(ages).all() or (ages < 0).any():
        raise RowInvalid("recent: an age isn't a finite number of days, 0 or more")
    return _padded(products, contract.RECENT), _padded(ages, contract.RECENT)


_ANONYMOUS: Final = _CUSTOMER.pack(contract.ANONYMOUS)
_NO_PRODUCTS: Final = bytes(8 * contract.RECENT)
_NO_AGES: Final = bytes(4 * contract.RECENT)
