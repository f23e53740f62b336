"""Which release ranks a request: the live one, or for some customers the canary, always the same customers."""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

from api.errors import ReleaseNotServed
from api.releases.document import Share
from api.releases.lane import Lane
from api.types import ExplainedQuery, Query, ReleaseQuery

PLACES: Final = 10_000
"""A canary's share is counted in 1/10,000ths of the customers."""


def place(release: int, customer_id: int | None, visitor_id: str | None) -> int:
    """Where somebody stands in a release's order of all customers, 0 to ``PLACES`` - 1; those in front get a canary.

    The order depends on the release, so that it isn't always the same customers who try what is new, and on nothing
    else: every adapter knows it, and a canary that grows keeps those whom it had. Whoever is known by both ids is
    placed by the customer's.

    Args:
        release: number of the canary's release.
        customer_id: who asks; None or 0 for nobody.
        visitor_id: names a visitor; None where nothing does, and there is no customer only then.
    """
    who = f"c{customer_id}" if customer_id else f"v{visitor_id}"
    digest = blake2b(who.encode(), digest_size=8, key=b"canary %d" % release).digest()
    return int.from_bytes(digest) % PLACES  # 2^64 places: the remainder prefers none by more than 1e-15


class Lanes:
    """The lanes that have traffic. Lives in one event loop; :meth:`use` switches between two requests."""

    __slots__ = ("_canary_below", "_canary_of", "_plain", "canary", "live", "missing", "shadow", "shadow_percent")

    def __init__(self, live: Lane) -> None:
        """All traffic to one release."""
        self.live = live
        self.canary: Lane | None = None
        """None as well while it is wanted and can't have traffic yet."""
        self.shadow: Lane | None = None
        self.shadow_percent = 0.0
        """Percent of the requests that the shadow shall rank as well."""
        self.missing = 0
        """Requests of a canary's customers that the live lane took because the canary isn't there yet."""
        self._canary_of = 0
        self._canary_below = 0
        """Customers whose place is below it get the canary."""
        self._plain = True
        live.ensemble.live = True

    def use(self, live: Lane, canary: Lane | None, share: Share | None, shadow: Lane | None, percent: float) -> None:
        """From the next request on these.

        Args:
            live: for all who have no other.
            canary: the lane of ``share``; None where it can't have traffic now.
            share: the canary that is wanted; None for none.
            shadow: ranks requests as well; None for none.
            percent: of the requests that the shadow shall rank.
        """
        self.live.ensemble.live = False
        live.ensemble.live = True
        self.live, self.canary, self.shadow, self.shadow_percent = live, canary, shadow, percent
        self._canary_of = 0 if share is None else share.release
        self._canary_below = 0 if share is None else round(share.percent * PLACES / 100)
        self._plain = share is None

    def of(self, query: Query) -> Lane:
        """The lane of a request.

        Where the canary can't be used now, its customers get the live lane: counted, and no degraded answer.

        Raises:
            ReleaseNotServed: the request names a release that isn't one of these.
        """
        if self._plain and type(query) is Query:
            return self.live
        if isinstance(query, ReleaseQuery | ExplainedQuery) and query.release is not None:
            return self._named(query.release)
        if self._plain or not self._gets_canary(query):
            return self.live
        lane = self.canary
        if lane is None:
            self.missing += 1
            return self.live
        if lane.breaker.refuses():
            lane.counts.diverted += type(query) is Query  # an explanation tells guards nothing
            return self.live
        return lane

    def all(self) -> list[Lane]:
        """Each lane once, the live one first."""
        return list(dict.fromkeys(lane for lane in (self.live, self.canary, self.shadow) if lane is not None))

    def _gets_canary(self, query: Query) -> bool:
        customer_id, visitor_id = query.customer_id, query.visitor_id
        if not customer_id and visitor_id is None:
            return False
        return place(self._canary_of, customer_id, visitor_id) < self._canary_below

    def _named(self, release: int) -> Lane:
        for lane in self.all():
            if lane.number == release:
                return lane
        raise ReleaseNotServed(release, sorted(lane.number for lane in self.all()))
