"""Writes a generation of precomputed lists, shard by shard, so that a run that was broken off anywhere goes on.

A finished shard is first in ``lists`` and then in ``progress``, each forced to the disk; what ``progress`` doesn't
vouch for is cut off and made again. The header comes last, then one rename switches to the new generation. One process
writes at a time.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec
import numpy as np
import numpy.typing as npt

from api import durable
from api.fallback import layout
from api.fallback.errors import FallbackInvalid
from api.fallback.layout import ContainerLists, Header
from api.fallback.lock import lock

PROGRESS: Final = "progress"
"""A line with :class:`_Beginning`, then one with the digest of each finished shard."""
_LOCK: Final = "lock"
_DIGEST_CHARACTERS: Final = 32


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """What a generation shall hold. Plans of one fingerprint can finish each other's work."""

    release: str
    """Name of the ensemble that ranks."""
    customers: npt.NDArray[np.int64]
    """Ids, 1 or higher, strictly ascending."""
    containers: tuple[ContainerLists, ...]
    created_at: float
    """Now, Unix seconds; what goes on keeps its own, and so with ``day``."""
    day: float
    """The moment to rank for, days since 1970-01-01 UTC."""
    inputs: bytes = b""
    """Whatever else the lists depend on, or a digest of it."""
    shard: int = 1_024
    """Customers between two records of progress."""

    def __post_init__(self) -> None:
        ids = self.customers
        if ids.ndim != 1 or (ids.size and ids[0] < 1) or (ids[1:] <= ids[:-1]).any():
            raise ValueError("customers must be ids of 1 or higher, strictly ascending")

    @property
    def fingerprint(self) -> str:
        """The same for the same lists."""
        hashed = hashlib.blake2b(digest_size=6)
        head = msgspec.json.encode((self.release, self.shard, self.containers, len(self.inputs)))
        for part in (b"%d" % len(head), head, self.inputs, self.customers.astype("<i8").tobytes()):
            hashed.update(part)
        return hashed.hexdigest()


class _Beginning(msgspec.Struct, frozen=True):
    created_at: float
    day: float


class GenerationWriter:
    """A generation on its way. Use as a context manager; leaving it without :meth:`publish` keeps what is finished."""

    def __init__(self, out: Path, plan: Plan) -> None:
        """Begin a generation at ``out``, or go on with one that was broken off.

        Raises:
            FallbackBusy: another process writes there.
            FallbackInvalid: the plan's containers contradict themselves.
            OSError: the folder can't be written.
        """
        self.plan: Final = plan
        self.sections: Final = layout.sections(plan.containers)
        self._record: Final = layout.record_bytes(self.sections)
        self._out = out
        out.mkdir(parents=True, exist_ok=True)
        self._lock = lock(out / _LOCK)
        try:
            self.folder: Final = self._unfinished() or self._new()
            started, digests = _read_progress(self.folder / PROGRESS)
            self._started = started or _Beginning(plan.created_at, plan.day)
            durable.replace(self.folder / layout.CUSTOMERS, plan.customers.astype("<i8").tobytes())
            lists = self.folder / layout.LISTS
            lists.touch()
            self._lists = lists.open("r+b", buffering=0)
            self._digests = self._vouched(digests)
            self._lists.truncate(self._lists.tell())
            begun = "".join(f"{line}\n" for line in (msgspec.json.encode(self._started).decode(), *self._digests))
            durable.replace(self.folder / PROGRESS, begun.encode())
            self._progress = (self.folder / PROGRESS).open("ab", buffering=0)
        except BaseException:
            os.close(self._lock)
            raise

    @property
    def day(self) -> float:
        """The moment to rank for: that of the run which began."""
        return self._started.day

    @property
    def done(self) -> int:
        """Customers whose lists are finished."""
        return min(len(self._digests) * self.plan.shard, self.plan.customers.size)

    @property
    def pending(self) -> npt.NDArray[np.int64]:
        """Customers of the next shard; empty when all are finished."""
        return self.plan.customers[self.done : self.done + self.plan.shard]

    def append(self, lists: Sequence[npt.NDArray[np.int64]]) -> None:
        """Finish the next shard.

        Args:
            lists: per section, the lists of the :attr:`pending` customers, as ``Section.encode`` takes them.

        Raises:
            FallbackInvalid: a list doesn't fit its container.
            OSError: it can't be written; the shard isn't finished then.
        """
        customers = self.pending
        parts = [section.encode(customers, rows) for section, rows in zip(self.sections, lists, strict=True)]
        self.append_records(np.hstack(parts).tobytes() if parts else b"")

    def append_records(self, data: bytes) -> None:
        """Finish the next shard with the :attr:`pending` customers' records as another generation's file has them.

        Raises:
            ValueError: they are too few or too many bytes.
            OSError: as in :meth:`append`.
        """
        if len(data) != self.pending.size * self._record:
            raise ValueError(f"{len(data)} bytes for {self.pending.size} records of {self._record}")
        self._lists.seek(self.done * self._record)
        durable.write(self._lists.fileno(), data)
        digest = layout.digest(data)
        durable.write(self._progress.fileno(), f"{digest}\n".encode())
        self._digests.append(digest)

    @property
    def header(self) -> Header:
        """What the finished generation says of itself.

        Raises:
            ValueError: customers are missing.
        """
        if self.pending.size:
            raise ValueError(f"{self.done} of {self.plan.customers.size} customers are finished")
        return Header(
            release=self.plan.release,
            created_at=self._started.created_at,
            day=self._started.day,
            customers=self.plan.customers.size,
            shard=self.plan.shard,
            customers_digest=layout.digest(self.plan.customers.astype("<i8").tobytes()),
            lists_digest=layout.digest("".join(self._digests).encode()),
            containers=list(self.plan.containers),
        )

    def publish(self) -> Path:
        """Make the generation the current one and remove all others; returns its folder.

        Raises:
            ValueError: customers are missing.
            OSError: it can't be written; the one before stays current.
        """
        durable.replace(self.folder / layout.HEADER, layout.encode_header(self.header))
        durable.replace(self._out / layout.CURRENT, f"{self.folder.name}\n".encode())
        (self.folder / PROGRESS).unlink()
        for other in self._generations():
            if other != self.folder:
                shutil.rmtree(other, ignore_errors=True)
        return self.folder

    def discard(self) -> None:
        """Remove what is unfinished, so that nobody goes on with it. Close it then."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def close(self) -> None:
        """Let others write."""
        self._lists.close()
        self._progress.close()
        os.close(self._lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _unfinished(self) -> Path | None:
        """The latest generation of this plan that was broken off."""
        with contextlib.suppress(FallbackInvalid):
            # A run that ended between the switch and this left it. Once replaced, it must not be taken up again.
            (layout.read_current(self._out) / PROGRESS).unlink(missing_ok=True)
        begun = [
            folder
            for folder in self._generations()
            if folder.name.endswith(self.plan.fingerprint) and (folder / PROGRESS).is_file()
        ]
        return max(begun, key=lambda folder: folder.name, default=None)

    def _new(self) -> Path:
        moment = time.strftime("%Y%m%dT%H%M%S", time.gmtime(self.plan.created_at))
        number = 0
        while True:
            folder = self._out / f"{moment}-{number}-{self.plan.fingerprint}"
            with contextlib.suppress(FileExistsError):
                folder.mkdir()
                return folder
            number += 1

    def _generations(self) -> list[Path]:
        """Folders that are generations by their name: another's files at the same place are left alone."""
        return [path for path in self._out.iterdir() if path.is_dir() and _is_ours(path.name)]

    def _vouched(self, digests: Sequence[str]) -> list[str]:
        """The leading digests that fit what is in ``lists``; its position is after them then."""
        good: list[str] = []
        customers = self.plan.customers.size
        for at, digest in enumerate(digests[: -(-customers // self.plan.shard)]):
            size = min(self.plan.shard, customers - at * self.plan.shard) * self._record
            start = self._lists.tell()
            if layout.digest(self._lists.read(size) or b"") != digest:
                self._lists.seek(start)
                break
            good.append(digest)
        return good


def _is_ours(name: str) -> bool:
    moment, _, rest = name.partition("-")
    return layout.is_generation(name) and len(moment) == 15 and "-" in rest


def _read_progress(path: Path) -> tuple[_Beginning | None, list[str]]:
    """What an unfinished generation says of itself; nothing after the first line that isn't whole."""
    lines = path.read_text(errors="replace").split("\n")[:-1] if path.is_file() else []
    try:
        started = msgspec.json.decode(lines[0], type=_Beginning)
    except (IndexError, msgspec.DecodeError):
        return None, []
    whole: list[str] = []
    for line in lines[1:]:
        if len(line) != _DIGEST_CHARACTERS:
            break
        whole.append(line)
    return started, whole
