"""A pool as rules want it ranked, kept until another pool comes."""

from __future__ import annotations

from collections.abc import Callable
from weakref import ref

from api.rules.pools import Scores, derived, held_by
from api.types import Pool


class Derivation:
    """What scores make of a pool. Views whose rules do the same to scores share one."""

    __slots__ = ("__weakref__", "_made", "_nbytes", "_resized", "_source", "_users", "scores")

    def __init__(self, scores: Scores, resized: Callable[[int], None]) -> None:
        """``resized`` hears by how many bytes more it keeps."""
        self.scores = scores
        self._resized = resized
        self._source: Callable[[], Pool | None] = _nothing
        self._made: Pool | None = None
        self._nbytes = 0
        self._users = 0

    def acquire(self) -> None:
        """Another view uses it from now on. While none does, nothing is kept."""
        self._users += 1

    def release(self) -> int:
        """A view doesn't use it any more; returns the bytes that are let go."""
        self._users -= 1
        if self._users:
            return 0
        self._made = None
        freed, self._nbytes = self._nbytes, 0
        return freed

    def of(self, pool: Pool) -> Pool:
        """The pool as it is to be ranked."""
        if self._source() is pool and self._made is not None:
            return self._made
        made = derived(pool, self.scores)
        if self._users:
            self._source, self._made = ref(pool), made
            nbytes = held_by(made, pool) + self.scores.nbytes
            by, self._nbytes = nbytes - self._nbytes, nbytes
            self._resized(by)
        return made

    def keeps(self, pool: Pool) -> bool:
        """Whether this is the pool that it made and keeps."""
        return self._made is pool


def _nothing() -> None:
    """Of no pool yet."""
