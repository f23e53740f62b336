"""Examples of the OpenAPI document: what a caller can expect to see, problems included."""

from __future__ import annotations

from typing import Any, Final

from api.errors import EventsUnavailable

PAGE: Final[dict[str, Any]] = {
    "container_id": "deals",
    "customer_id": 1234,
    "product_ids": [862349, 844179, 9245106],
    "release": "personalize_v1",
    "source": "ensemble",
    "degraded": False,
    "degraded_reasons": [],
    "next_cursor": None,
}
EVENTS: Final[dict[str, Any]] = {
    "accepted": 2,
    "duplicates": 1,
    "expired": 0,
    "degraded": False,
    "degraded_reasons": [],
}
RELEASES: Final[dict[str, Any]] = {
    "version": 12,
    "followed": True,
    "broken": "",
    "change": "canary 2 at 5 %",
    "why": "",
    "changed_at": "2026-11-27T09:00:00+00:00",
    "wanted_live": 1,
    "wanted_canary": {"release": 2, "percent": 5.0},
    "wanted_shadow": {"release": 3, "percent": 10.0},
    "live": 1,
    "canary": 2,
    "shadow": 3,
    "previous": [],
    "releases": [
        {
            "release": 1,
            "name": "personalize_v1",
            "state": "serving",
            "why": "",
            "since": "2026-11-26T06:00:03+00:00",
        },
        {
            "release": 2,
            "name": "personalize_v2",
            "state": "serving",
            "why": "",
            "since": "2026-11-27T09:00:04+00:00",
        },
        {
            "release": 3,
            "name": "personalize_v3",
            "state": "serving",
            "why": "",
            "since": "2026-11-27T08:30:06+00:00",
        },
    ],
    "beside": {
        "guards": [
            {
                "guard": "errors",
                "state": "held",
                "figure": 0.0012,
                "live": 0.0009,
                "bound": 0.0118,
                "observations": 812,
                "window_s": 600.0,
                "told": "errors 0.12 % of 812 requests in 600 s (at most 1.18 % allowed, live 0.09 %)",
            }
        ],
        "taken_back": {
            "release": 4,
            "guard": "p99",
            "why": "p99 102 ms of 412 requests in 30 s (at most 32.3 ms allowed, live 21.5 ms)",
            "at": "2026-11-26T16:20:11+00:00",
            "unwritten": "",
        },
        "comparisons": [
            {
                "role": "shadow",
                "release": 3,
                "live": 1,
                "rankings": 240,
                "failed": 0,
                "overlap_10": 0.71,
                "overlap_20": 0.78,
                "rbo": 0.69,
                "score_difference": 0.12,
                "spearman": 0.86,
                "seconds": 0.0061,
                "live_seconds": 0.0058,
            }
        ],
        "dropped": {"full": 0, "busy": 3, "gone": 0},
    },
    "history": [{"version": 12, "at": "2026-11-27T09:00:00+00:00", "change": "canary 2 at 5 %", "live": 1, "why": ""}],
}
DEGRADED: Final[dict[str, Any]] = {
    **PAGE,
    "release": None,
    "source": "popularity",
    "degraded": True,
    "degraded_reasons": ["ensemble_unavailable"],
}
_EXPLANATION: Final[dict[str, Any]] = {
    "product_id": 862349,
    "source": "ensemble",
    "position": 1,
    "score_rank": 1,
    "retrieval_rank": 12,
    "score": -1.104112,
    "components": {"affinity": -0.021553, "demand": 0.183044, "preference": -0.985737},
    "shares": {"affinity": 0.018106, "demand": 0.153773, "preference": 0.828121},
    "boost": 0.0,
    "bias": -0.279866,
    "rules": [],
}
EXPLAINED: Final[dict[str, Any]] = {
    **PAGE,
    "product_ids": [862349],
    "explanations": [_EXPLANATION],
    "why_not": {
        **_EXPLANATION,
        "product_id": 844179,
        "position": 41,
        "score_rank": 17,
        "retrieval_rank": 3,
        "score": -1.011241,
        "components": {"affinity": 0.071318, "demand": 0.183044, "preference": -0.985737},
        "shares": {"affinity": 0.057508, "demand": 0.147600, "preference": 0.794892},
        "reason": "ranked_low",
        "detail": "It is at place 41 of 128 with score -1.011; the last product shown, at place 1, has score -1.104. "
        "By its score alone it would be at place 17: rules of the list, such as the discount for more products of one "
        "category, have moved it down.",
    },
}
DESCRIBED: Final[dict[str, Any]] = {
    "products": [
        {
            "product_id": 862349,
            "name": "POTATO CHIPS",
            "leaf_category": "POTATO CHIPS",
            "category": "BAG SNACKS",
            "department": "GROCERY",
            "brand": "National",
            "package_size": "11 OZ",
            "regular_price": 2.99,
            "price": 2.5,
            "price_ratio": 0.836,
            "mailer": 0.4,
            "display": 0.0,
            "coupon": 0.0,
            "available": True,
        }
    ]
}
CONTAINERS: Final[dict[str, Any]] = {
    "containers": [
        {"container_id": "deals", "title": "This week's deals", "kind": "list", "size": 128},
        {"container_id": "department-grocery", "title": "Grocery", "kind": "grid", "size": 14788},
    ]
}
READY: Final[dict[str, Any]] = {"status": "ready", "detail": "the ensemble answers"}
EVENTS_POSTED: Final[dict[str, Any]] = {
    "events": [
        {"event_id": "order-17-1", "kind": "purchase", "product_id": 1029743, "customer_id": 1234},
        {"event_id": "view-1", "kind": "view", "product_id": 862349, "visitor_id": "5f0c9c1e-7c1b"},
    ]
}
KEPT_EVENTS: Final[dict[str, Any]] = {
    "events": [
        {"event_id": "view-1", "kind": "view", "product_id": 862349, "at": "2026-11-25T18:30:00.250000Z"},
        {"event_id": "order-17-1", "kind": "purchase", "product_id": 1029743, "at": "2026-11-24T09:12:44Z"},
    ]
}
DELETED_EVENTS: Final[dict[str, Any]] = {"deleted": 2}
LOGIN: Final[dict[str, Any]] = {"visitor_id": "5f0c9c1e-7c1b", "customer_id": 1234}
ALIVE: Final[dict[str, Any]] = {"status": "alive"}
METRICS: Final = """# HELP racksort_ready 1 once a real inference through the whole path worked
# TYPE racksort_ready gauge
racksort_ready 1.0
"""


def _problem(slug: str | None, title: str, status: int, detail: str, **fields: Any) -> dict[str, Any]:
    kind = "about:blank" if slug is None else f"urn:racksort:problem:{slug}"
    return {"type": kind, "title": title, "status": status, "detail": detail, **fields}


_SAME: Final = "send `next_cursor` of an answer to the same request as it is, or none to begin again"
_AGAIN: Final = "begin again without a cursor"
_WRONG: Final = "'500' isn't a whole number from 1 to 100"
PROBLEMS: Final[dict[int, dict[str, Any]]] = {
    400: _problem(
        "invalid-cursor",
        "Invalid cursor",
        400,
        f"The cursor can't be used: it was changed; {_SAME}",
        errors=[{"field": "cursor", "message": f"it was changed: {_SAME}"}],
    ),
    404: _problem(
        "unknown-container",
        "Unknown container",
        404,
        "There is no container 'dealz': GET /v1/containers lists them",
    ),
    410: _problem(
        "expired-cursor",
        "Expired cursor",
        410,
        f"The cursor can't be used: it is too old; {_AGAIN}",
        errors=[{"field": "cursor", "message": f"it is too old: {_AGAIN}"}],
    ),
    413: _problem(
        "body-too-large", "Body too large", 413, "The body is longer than 262144 bytes; bring fewer products"
    ),
    415: _problem(
        "unsupported-media-type",
        "Unsupported media type",
        415,
        "The body is sent as 'text/plain'; send JSON with the header 'content-type: application/json'",
    ),
    422: _problem(
        "invalid-parameter",
        "Invalid parameter",
        422,
        f"limit: {_WRONG}",
        errors=[{"field": "limit", "message": _WRONG}],
    ),
    429: _problem(
        "too-many-requests",
        "Too Many Requests",
        429,
        "The adapter has more requests than it can answer in time; ask again later, or less often.",
    ),
    431: _problem(
        "head-too-large",
        "Request Header Fields Too Large",
        431,
        "Request line and headers may take 32768 bytes and be 100 headers.",
    ),
    500: _problem(None, "Internal Server Error", 500, "The adapter made a mistake; its log says which."),
    503: _problem("catalog-unavailable", "Service Unavailable", 503, "No products can be shown now; try again soon."),
}
EVENTS_UNAVAILABLE: Final = _problem("events-unavailable", "Service Unavailable", 503, EventsUnavailable.detail)
NOT_READY: Final = _problem("not-ready", "Service Unavailable", 503, "Not ready: no inference was tried yet")
