"""Explanations as the text that follows a page's own fields."""

from __future__ import annotations

import orjson

from api.explain.evidence import ExplainedPage


def explained_body(page: bytes, answer: ExplainedPage) -> bytes:
    """An explained answer's body: ``page``, its page's as JSON, with the explanations added."""
    added = orjson.dumps({"explanations": answer.explanations, "why_not": answer.why_not})
    return page[:-1] + b"," + added[1:]
