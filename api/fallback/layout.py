"""The files of a generation of precomputed lists, byte by byte (docs/precompute.md). Every number is little-endian.

``header`` says what the other two mean. ``customers`` holds the sorted ids, int64. ``lists`` holds one record per
customer in the same order, so that all lists of a page lie side by side: per container, ``places`` positions in its
table of products, then their CRC-32. The CRC starts from a number made of the customer, the container and its table,
so that it also tells a list that isn't theirs. A container without places (a grid, or one without products) takes
nothing in a record: it has only the header's list for everybody.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from api.fallback.errors import FallbackInvalid
from ensemble import contract

FORMAT: Final = 2
"""Grows whenever a reader of the former format would misread the files. 1 had sums for lists without places."""
CURRENT: Final = "current"
"""Names the generation to serve. It is replaced by a rename, which is the switch."""
HEADER: Final = "header"
CUSTOMERS: Final = "customers"
LISTS: Final = "lists"
ID_BYTES: Final = 8

RESIDUE: Final = 0x2144DF1C
"""CRC-32 of anything that is followed by its own CRC-32: one pass over a list and its sum tells whether they fit."""
_SUM: Final = np.dtype("<u4")

_MAGIC: Final = b"racksort-precomputed"
_VERSION: Final = b"%d" % FORMAT
_NAME: Final = re.compile(r"[0-9A-Za-z-]{1,64}")
_MAX_NAME_FILE: Final = 100

_Position = np.unsignedinteger[Any]
_Count = Annotated[int, msgspec.Meta(ge=0)]
_Id = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]


class ContainerLists(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One container's part of the header."""

    container_id: str
    table: list[_Id]
    """The products that its lists are made of, each once; a list holds positions in it."""
    popular: list[_Id]
    """The list of everybody who isn't a known customer; of everybody where there are no places."""
    places: Annotated[int, msgspec.Meta(ge=0, le=contract.MAX_CANDIDATES)]
    """Products of a customer's own list, at most; 0 where customers have none of their own."""


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A generation's description."""

    release: str
    created_at: float
    """When its lists began to be made, Unix seconds."""
    day: float
    """The moment they are ranked for, days since 1970-01-01 UTC."""
    customers: _Count
    shard: Annotated[int, msgspec.Meta(ge=1)]
    """Customers that ``lists_digest`` takes together; the last shard may have fewer."""
    customers_digest: str
    """:func:`digest` of ``customers``."""
    lists_digest: str
    """:func:`digest` of the shards' own digests in hexadecimal, one after the other."""
    containers: list[ContainerLists]


@dataclass(frozen=True, slots=True, eq=False)
class Section:
    """A container's place in every customer's record."""

    container_id: str
    table: npt.NDArray[np.int64]
    """[T]"""
    popular: npt.NDArray[np.int64]
    places: int
    dtype: np.dtype[_Position]
    """Of a position; the highest value means that the list has ended."""
    start: int
    """In the record, bytes."""
    stop: int
    seed: int

    @property
    def end(self) -> int:
        """The position that isn't one: the list has ended."""
        return int(np.iinfo(self.dtype).max)

    def seed_for(self, customer_id: int) -> int:
        """What the sum of this customer's list starts from."""
        return self.seed ^ (customer_id & 0xFFFFFFFF) ^ (customer_id >> 32)

    def encode(self, customers: npt.NDArray[np.int64], lists: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        """The customers' lists as bytes, [B, stop - start].

        Args:
            customers: [B]
            lists: [B, places] product ids, best first, ``contract.PADDING`` after the last.

        Raises:
            FallbackInvalid: a list isn't made of the table's products, each once at most and none after the end.
        """
        position = self._positions(lists)
        if not self.places:
            return np.empty((len(lists), 0), np.uint8)
        raw = position.tobytes()
        size = self.places * self.dtype.itemsize
        sums = np.empty(len(customers), _SUM)
        for row, customer_id in enumerate(customers.tolist()):
            sums[row] = zlib.crc32(raw[row * size : (row + 1) * size], self.seed_for(customer_id))
        return np.hstack([position.view(np.uint8).reshape(len(lists), size), sums.view(np.uint8).reshape(-1, 4)])

    def _positions(self, lists: npt.NDArray[np.int64]) -> npt.NDArray[_Position]:
        if lists.shape[1:] != (self.places,):
            raise ValueError(f"container {self.container_id!r}: lists of shape {lists.shape}, not [B, {self.places}]")
        if not self.places:
            return np.empty(lists.shape, self.dtype)
        over = lists == contract.PADDING
        order = np.argsort(self.table)
        nearest = np.searchsorted(self.table[order], lists).clip(max=self.table.size - 1)
        position = np.where(over, self.end, order[nearest])
        known = over | (self.table[order[nearest]] == lists)
        sorted_ = np.sort(position, axis=1)
        repeated = (sorted_[:, 1:] == sorted_[:, :-1]) & (sorted_[:, 1:] != self.end)
        if not known.all() or repeated.any() or (over[:, :-1] > over[:, 1:]).any():
            raise FallbackInvalid(
                f"container {self.container_id!r}: a ranking isn't made of the container's products, each once; "
                "the release or the catalog has changed meanwhile: run `racksort precompute` again"
            )
        return position.astype(self.dtype)


def sections(containers: Iterable[ContainerLists]) -> tuple[Section, ...]:
    """Where each container's lists are, in the order of the record.

    Raises:
        FallbackInvalid: a container or a product occurs twice, or a list would be longer than its table.
    """
    made: list[Section] = []
    at = 0
    for entry in containers:
        table, popular = _frozen(entry.table), _frozen(entry.popular)
        size = len(entry.table)
        if len(set(entry.table)) < size or len(set(entry.popular)) < len(entry.popular) or entry.places > size:
            raise FallbackInvalid(
                f"container {entry.container_id!r}: {size} products for {entry.places} places, or one of them twice; "
                "load the catalog again, then run `racksort precompute`"
            )
        dtype: np.dtype[_Position] = np.dtype("u1" if size <= 0xFF else "<u2")
        stop = at + (entry.places * dtype.itemsize + _SUM.itemsize if entry.places else 0)
        seed = zlib.crc32(table.astype("<i8").tobytes(), zlib.crc32(entry.container_id.encode()))
        made.append(Section(entry.container_id, table, popular, entry.places, dtype, at, stop, seed))
        at = stop
    if len({section.container_id for section in made}) < len(made):
        raise FallbackInvalid("a container occurs twice: load the catalog again, then run `racksort precompute`")
    return tuple(made)


def record_bytes(made: Sequence[Section]) -> int:
    """Bytes of one customer's record."""
    return made[-1].stop if made else 0


def digest(data: bytes | memoryview) -> str:
    """BLAKE2b of 128 bits, in hexadecimal."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def encode_header(header: Header) -> bytes:
    """The header's file: a line that tells its format and the digest of the rest, then JSON."""
    body = msgspec.json.encode(header)
    return b"%b %b %b\n%b" % (_MAGIC, _VERSION, digest(body).encode(), body)


def decode_header(path: Path, raw: bytes) -> Header:
    """Read a header's file.

    Raises:
        FallbackInvalid: it is damaged or of another format.
    """
    first, _, body = raw.partition(b"\n")
    magic, _, rest = first.partition(b" ")
    version, _, sum_ = rest.partition(b" ")
    if magic != _MAGIC or version != _VERSION:
        raise FallbackInvalid(
            f"{path}: isn't the header of precomputed lists of format {_VERSION.decode()}: "
            "run `racksort precompute` again"
        )
    if sum_ != digest(body).encode():
        raise FallbackInvalid(f"{path}: is damaged (its checksum differs): run `racksort precompute` again")
    try:
        return msgspec.json.decode(body, type=Header)
    except msgspec.DecodeError as error:
        raise FallbackInvalid(f"{path}: isn't a header ({error}): run `racksort precompute` again") from error


def read_current(folder: Path) -> Path:
    """The generation to serve.

    Raises:
        FallbackInvalid: there is none.
    """
    path = folder / CURRENT
    try:
        with path.open("rb") as file:
            name = file.read(_MAX_NAME_FILE).decode(errors="replace").strip()
    except OSError as error:
        raise FallbackInvalid(
            f"{folder}: has no precomputed lists ({path.name}: {error.strerror}): run `racksort precompute`"
        ) from error
    if not is_generation(name):
        raise FallbackInvalid(f"{path}: doesn't name a generation: run `racksort precompute` again")
    return folder / name


def is_generation(name: str) -> bool:
    """Whether a folder of this name can be a generation."""
    return _NAME.fullmatch(name) is not None


def _frozen(values: list[int]) -> npt.NDArray[np.int64]:
    array = np.array(values, np.int64)
    array.flags.writeable = False
    return array
