"""Reads precomputed lists from memory-mapped files: opening copies nothing but the header, whatever the size, and all
processes of a machine share the pages.

A generation's files never change: a newer one is another folder. What is mapped stays readable after its folder is
removed. Whoever shortens a mapped file in place, though, ends its readers (SIGBUS): replace folders, never contents.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from typing import Final, Self
from zlib import crc32

import numpy as np
import numpy.typing as npt

from api.fallback import layout
from api.fallback.errors import FallbackInvalid
from api.fallback.layout import RESIDUE, Header, Section

_MAX_ID: Final = 2**63 - 1
_ATTEMPTS: Final = 5
"""Switches that one opening may meet."""
_Stamp = tuple[int, int, int]


class Generation:
    """One generation, mapped. The files go with the last reference to it."""

    def __init__(self, folder: Path) -> None:
        """Map a generation and check its header and sizes, not its lists.

        Raises:
            FallbackInvalid: a file is missing, cut, damaged or of another format.
        """
        self.folder = folder
        self.header: Final[Header] = layout.decode_header(folder / layout.HEADER, _read(folder / layout.HEADER))
        made = layout.sections(self.header.containers)
        self.sections: Final[dict[str, Section]] = {section.container_id: section for section in made}
        self.record: Final = layout.record_bytes(made)
        self.customers: Final = _map(folder / layout.CUSTOMERS, self.header.customers * layout.ID_BYTES)
        self.lists: Final = _map(folder / layout.LISTS, self.header.customers * self.record)
        self._count = self.header.customers
        self._row_of = np.frombuffer(self.customers, "<i8").searchsorted
        self._id_at = memoryview(self.customers).cast("q")  # a plain int each, ten times as fast as numpy's scalars

    def popular(self, container_id: str, limit: int) -> npt.NDArray[np.int64] | None:
        """See :meth:`PrecomputedLists.popular`."""
        section = self.sections.get(container_id)
        return None if section is None else section.popular[:limit]

    def own(self, container_id: str, customer_id: int | None, limit: int) -> npt.NDArray[np.int64] | None:
        """See :meth:`PrecomputedLists.own`."""
        section = self.sections.get(container_id)
        if section is None or not section.places or customer_id is None or not 0 < customer_id <= _MAX_ID:
            return None
        row = int(self._row_of(customer_id))
        if row == self._count or self._id_at[row] != customer_id:
            return None
        at = row * self.record
        raw = self.lists[at + section.start : at + section.stop]
        if crc32(raw, section.seed_for(customer_id)) != RESIDUE:
            raise self._damaged(section, customer_id)
        position = np.frombuffer(raw, section.dtype, min(limit, section.places))
        try:
            products: npt.NDArray[np.int64] = section.table.take(position)
        except IndexError:  # the list ends before the limit, which few do: looking first would cost the others
            try:
                products = section.table.take(position[position != section.end])
            except IndexError:
                raise self._damaged(section, customer_id) from None
        return products

    def _damaged(self, section: Section, customer_id: int) -> FallbackInvalid:
        return FallbackInvalid(
            f"{self.folder}: the list {section.container_id!r} of customer {customer_id} is damaged: "
            "run `racksort precompute` again"
        )


class PrecomputedLists:
    """The current generation of a store, and the newer ones that follow it."""

    def __init__(self, folder: Path, generation: Generation, stamp: _Stamp) -> None:
        self._folder = folder
        self._current: Final = os.fspath(folder / layout.CURRENT)
        self._generation: Generation | None = generation
        self._stamp = stamp

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Map the store at ``folder``, which ``racksort precompute`` has written.

        Raises:
            FallbackInvalid: it is missing, cut, damaged or of another format. Damage inside the lists shows when they
                are looked up, or in ``api.fallback.check.verify``.
        """
        return cls(folder, *_open_current(folder))

    def find(self, container_id: str, customer_id: int | None, limit: int) -> npt.NDArray[np.int64] | None:
        """The customer's own list of a container, or everybody's where they have none.

        Args:
            container_id: as the catalog called it when the lists were made.
            customer_id: None, 0 and customers without lists get the container's own order.
            limit: products, at most, >= 0.

        Returns:
            Product ids, best first; fewer than ``limit`` where the list is shorter. None: the container isn't there.

        Raises:
            FallbackInvalid: the list is damaged. Others may be whole.
        """
        generation = self._generation or self._mapped
        found = generation.own(container_id, customer_id, limit)
        return generation.popular(container_id, limit) if found is None else found

    def own(self, container_id: str, customer_id: int | None, limit: int) -> npt.NDArray[np.int64] | None:
        """The customer's own list of a container as :meth:`find` gives it; None where there is none."""
        generation = self._generation or self._mapped
        return generation.own(container_id, customer_id, limit)

    def popular(self, container_id: str, limit: int) -> npt.NDArray[np.int64] | None:
        """The container's own order when the lists were made; None where it isn't there."""
        generation = self._generation or self._mapped
        return generation.popular(container_id, limit)

    def has_own(self, container_id: str) -> bool:
        """Whether customers have lists of their own of the container, rather than one for everybody."""
        section = self._mapped.sections.get(container_id)
        return section is not None and section.places > 0

    def reload_if_changed(self) -> bool:
        """Go over to a newer generation where there is one. Costs one stat where there isn't.

        Raises:
            FallbackInvalid: the newer one can't be used. The one at hand stays in use, and the next call tries again.
        """
        if _stamp(self._current) == self._stamp:
            return False
        self._generation, self._stamp = _open_current(self._folder)
        return True

    def age_s(self, now: float) -> float:
        """Seconds between the making of the lists and ``now`` (Unix seconds)."""
        return now - self._mapped.header.created_at

    @property
    def release(self) -> str:
        """Name of the ensemble that ranked the lists."""
        return self._mapped.header.release

    @property
    def generation(self) -> str:
        """Name of the generation."""
        return self._mapped.folder.name

    @property
    def customers(self) -> int:
        """Customers with lists of their own."""
        return self._mapped.header.customers

    @property
    def containers(self) -> tuple[str, ...]:
        """Ids of the containers."""
        return tuple(self._mapped.sections)

    def __contains__(self, container_id: str) -> bool:
        """Whether the container is there."""
        return container_id in self._mapped.sections

    @property
    def nbytes(self) -> int:
        """Bytes that are mapped."""
        return len(self._mapped.customers) + len(self._mapped.lists)

    def close(self) -> None:
        """Let the files go. Nothing can be looked up any more."""
        self._generation = None

    @property
    def _mapped(self) -> Generation:
        if self._generation is None:
            raise ValueError("the precomputed lists are closed")
        return self._generation


def _open_current(folder: Path) -> tuple[Generation, _Stamp]:
    """The current generation and the stamp of what named it; a switch meanwhile may remove what was named before."""
    attempts, current = _ATTEMPTS, os.fspath(folder / layout.CURRENT)
    while True:
        stamp = _stamp(current)
        try:
            return Generation(layout.read_current(folder)), stamp
        except FallbackInvalid:
            attempts -= 1
            if not attempts or _stamp(current) == stamp:
                raise


def _stamp(path: str) -> _Stamp:
    """Changes whenever ``path`` is replaced; all zero where there is nothing."""
    try:
        status = os.stat(path)  # noqa: PTH116 - a text is ready for the kernel, a Path isn't
    except OSError:
        return 0, 0, 0
    return status.st_ino, status.st_mtime_ns, status.st_size


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error


def _map(path: Path, size: int) -> mmap.mmap | bytes:
    """The file's bytes, read-only.

    Raises:
        FallbackInvalid: it can't be read or hasn't ``size`` bytes.
    """
    try:
        with path.open("rb") as file:
            there = os.fstat(file.fileno()).st_size
            if there != size:
                raise FallbackInvalid(f"{path}: has {there:,} bytes, not {size:,}: run `racksort precompute` again")
            if not size:
                return b""  # nothing can't be mapped
            mapped = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)
    except ValueError as error:  # it was truncated since its size was looked at
        raise FallbackInvalid(f"{path}: can't be mapped ({error}): run `racksort precompute` again") from error
    except OSError as error:
        raise _unreadable(path, error) from error
    mapped.madvise(mmap.MADV_RANDOM)  # look-ups come from all over: reading ahead would fetch what nobody asked for
    return mapped


def _unreadable(path: Path, error: OSError) -> FallbackInvalid:
    return FallbackInvalid(f"{path}: can't be read ({error.strerror}): run `racksort precompute` again")
