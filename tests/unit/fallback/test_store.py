from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.fallback.check import verify
from api.fallback.errors import FallbackInvalid
from api.fallback.layout import ContainerLists, sections
from api.fallback.store import PrecomputedLists
from api.fallback.writer import Plan
from tests.unit.fallback import stores
from tests.unit.fallback.stores import Content, contents, padded, small


@given(content=contents(), stranger=st.integers(-(2**70), 2**70), limit=st.integers(0, 100))
def test_a_store_answers_as_a_dictionary_would(content: Content, stranger: int, limit: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        stores.write(Path(name), content)
        store = PrecomputedLists.open(Path(name))
        verify(Path(name))
    assert (store.customers, store.release, store.age_s(1_060.0)) == (len(content.lists), "personalize_v1", 60.0)
    assert store.containers == tuple(container.container_id for container in content.containers)
    for at, container in enumerate(content.containers):
        for customer in (*content.lists, stranger, None, 0):
            found = store.find(container.container_id, customer, limit)
            assert found is not None
            assert found.dtype == np.int64
            own = customer in content.lists and container.places > 0
            expected = content.lists[customer][at] if own else container.popular
            assert found.tolist() == expected[:limit]
            assert (store.own(container.container_id, customer, limit) is None) != own
        assert container.container_id in store
        assert store.has_own(container.container_id) == (container.places > 0)
    assert store.find("no such container", None, limit) is None
    assert "no such container" not in store
    store.close()


def test_lists_of_a_hundred_candidates_take_a_byte_a_place(tmp_path: Path) -> None:
    table = list(range(1, 129))
    content = Content((ContainerLists("deals", table, table[:60], 60),), dict.fromkeys(range(1, 101), (table[:60],)))
    stores.write(tmp_path, content)
    assert PrecomputedLists.open(tmp_path).nbytes == 100 * (8 + 60 + 4)


def test_what_is_found_can_be_changed_by_nobody_who_shares_it(tmp_path: Path) -> None:
    stores.write(tmp_path, small())
    store = PrecomputedLists.open(tmp_path)
    popular, own = store.find("deals", None, 10), store.find("deals", 3, 10)
    assert popular is not None
    assert own is not None
    with pytest.raises(ValueError, match="read-only"):
        popular[0] = 1
    own[0] = 1  # a copy
    assert store.find("deals", 3, 1) == [7]


@pytest.mark.parametrize(
    "lists",
    [[[1, 2, 2]], [[1, 0, 2]], [[1, 2, 99]], [[-1, 2, 3]], [[255, 0, 0]]],
    ids=["repeated", "gap", "unknown", "negative", "the sentinel"],
)
def test_a_ranking_that_cannot_be_the_containers_is_never_written(lists: list[list[int]]) -> None:
    (section,) = sections([ContainerLists("deals", [3, 1, 2, 4], [1], 3)])
    with pytest.raises(FallbackInvalid, match="container 'deals': a ranking isn't made of the container's products"):
        section.encode(np.array([1], np.int64), padded(lists, 3))


@pytest.mark.parametrize(
    ("containers", "message"),
    [
        ([ContainerLists("a", [1, 1], [], 1)], "twice"),
        ([ContainerLists("a", [1], [2, 2], 1)], "twice"),
        ([ContainerLists("a", [1], [1], 2)], "1 products for 2 places"),
        ([ContainerLists("a", [1], [1], 1), ContainerLists("a", [2], [2], 1)], "a container occurs twice"),
    ],
)
def test_containers_that_contradict_themselves_are_refused(containers: list[ContainerLists], message: str) -> None:
    with pytest.raises(FallbackInvalid, match=message):
        sections(containers)


@pytest.mark.parametrize("customers", [[0], [-1, 2], [2, 1], [1, 1], [[1]]])
def test_customers_must_be_ids_in_order(customers: list[int]) -> None:
    with pytest.raises(ValueError, match="strictly ascending"):
        Plan("r", np.array(customers, np.int64), (), 0.0, 0.0)


def test_a_closed_store_says_so(tmp_path: Path) -> None:
    stores.write(tmp_path, small())
    store = PrecomputedLists.open(tmp_path)
    store.close()
    with pytest.raises(ValueError, match="closed"):
        store.find("deals", 3, 1)
