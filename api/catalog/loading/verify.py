"""Compares what was sent with what Elasticsearch has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import orjson
from elasticsearch import Elasticsearch

from api.catalog.loading.documents import Document
from api.catalog.loading.errors import LoadFailed

_SIZE: Final = 100


class Sample:
    """A fair sample of documents, chosen as they pass (reservoir sampling, Vitter 1985, algorithm R)."""

    def __init__(self, seed: int = 0, size: int = _SIZE) -> None:
        self.chosen: list[Document] = []
        self.offered = 0
        self._size = size
        self._random = np.random.default_rng(seed)

    def offer(self, document: Document) -> None:
        """Perhaps keep one more document."""
        self.offered += 1
        if len(self.chosen) < self._size:
            self.chosen.append(document)
        elif (place := int(self._random.integers(self.offered))) < self._size:
            self.chosen[place] = document


def verify(client: Elasticsearch, index: str, sample: Sample, kinds: Mapping[str, str]) -> None:
    """Refresh ``index``, count its documents and compare the sample field by field.

    Raises:
        LoadFailed: something differs.
    """
    client.indices.refresh(index=index)
    count = client.count(index=index)["count"]
    if count != sample.offered:
        raise LoadFailed(f"{index} has {count} documents, but {sample.offered} were sent: load again")
    if not sample.chosen:
        return
    answer = client.mget(index=index, ids=[document.name for document in sample.chosen])
    for document, entry in zip(sample.chosen, answer["docs"], strict=True):
        sent, held = orjson.loads(document.body), entry.get("_source")
        if held is None or not _equal(sent, held, kinds):
            raise LoadFailed(f"{index}: product {document.name} isn't what was sent ({held} for {sent}): load again")


def _equal(sent: Mapping[str, Any], held: Mapping[str, Any], kinds: Mapping[str, str]) -> bool:
    """Whether all fields agree; a float field in the precision that it has."""
    return sent.keys() == held.keys() and all(
        np.float32(value) == np.float32(held[name]) if kinds.get(name) == "float" else value == held[name]
        for name, value in sent.items()
    )
