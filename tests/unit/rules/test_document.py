"""Documents are refused with the rule, the field and the remedy named; what is accepted reads back as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.errors import RulesInvalid
from api.rules.document import parse, read
from api.rules.segments import Ranges, Segments
from tests.unit.rules.shop import document_of

EXCLUDE: dict[str, Any] = {"id": "recall", "effect": "exclude", "products": {"ids": [1]}}


@pytest.mark.parametrize(
    ("rule", "field", "says"),
    [
        ({"id": "bad id"}, "rule 'bad id'.id", "match"),
        ({"effect": "hide"}, "rule 'recall'.effect", "exclude, availability, pin"),
        ({"products": {}}, "rule 'recall'.products", "give ids, categories or brands"),
        ({"products": {"ids": [0]}}, "rule 'recall'.products.ids.0", "greater than 0"),
        ({"products": {"ids": [True]}}, "rule 'recall'.products.ids.0", "integer"),
        ({"product": {"ids": [1]}}, "rule 'recall'.product", "no such field"),
        ({"scope": {"from": "tomorrow"}}, "rule 'recall'.scope.from", "write it as"),
        ({"scope": {"from": "2026-01-01T00:00:00"}}, "rule 'recall'.scope.from", "no zone"),
        ({"scope": {"hours": ["20:00", "08:00"]}}, "rule 'recall'.scope", "two rules"),
        ({"scope": {"hours": ["08:00", "08:10"]}}, "rule 'recall'.scope.hours.1", "quarter"),
        ({"scope": {"timezone": "Mars"}}, "rule 'recall'.scope.timezone", "Europe/Berlin"),
        ({"scope": {"timezone": "../../etc/passwd"}}, "rule 'recall'.scope.timezone", "Europe/Berlin"),
        ({"scope": {"containers": []}}, "rule 'recall'.scope", "nowhere"),
        ({"scope": {"segments": ["anonymus"]}}, "rule 'recall'.scope.segments", "did you mean 'anonymous'"),
        (
            {"scope": {"from": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"}},
            "rule 'recall'.scope",
            "swap them",
        ),
    ],
)
def test_a_fault_names_rule_field_and_remedy(rule: dict[str, Any], field: str, says: str) -> None:
    with pytest.raises(RulesInvalid) as error:
        parse(orjson.dumps({"rules": [EXCLUDE | rule]}))
    assert [fault.field for fault in error.value.faults if says in fault.message] == [field]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "isn't JSON"),
        (b"[]", "isn't an object"),
        (b"{}", "rules: field required"),
        (b'{"rules": [], "format": 2}', "format"),
        (b'{"rules": [3]}', "rule number 1"),
        (b'{"rules": [], "segments": {"known": {"customers": [1]}}}', "built in"),
        (b'{"rules": [], "segments": {"club": {}}}', "holds nobody"),
        (b'{"rules": [], "segments": {"club": {"ranges": [[5, 1]]}}}', "swap"),
        (b'{"rules": [], "segments": {"club": {"file": "x"}}}', "segments.club.file"),
        (orjson.dumps({"rules": [EXCLUDE, EXCLUDE]}), "2 rules have this id"),
    ],
)
def test_what_is_no_document_is_refused(content: bytes, says: str) -> None:
    with pytest.raises(RulesInvalid, match=says):
        parse(content)


def test_every_effect_reads_back_as_it_was_written() -> None:
    document = document_of(
        {"effect": "exclude", "products": {"ids": [1], "brands": ["x"]}, "note": "why"},
        {"effect": "availability", "products": {"categories": ["wine", 7]}, "scope": {"hours": ["08:00", "24:00"]}},
        {"effect": "pin", "product": 3, "position": 2, "scope": {"from": "2026-01-01T00:00:00+01:00"}},
        {"effect": "boost", "products": {"ids": [1]}, "amount": 0.25},
        {"effect": "bury", "products": {"ids": [1]}, "amount": 0.25},
        {"effect": "cap", "per": "brand", "most": 2, "among": 12, "scope": {"segments": ["club"], "rank": True}},
        {"effect": "hide_bought", "days": 30, "unless_repeat_rate": 0.5},
        {"effect": "min_new", "share": 0.2, "among": 10, "days": 14},
        segments={"club": {"customers": [1], "ranges": [[5, 9]]}},
        note="black friday",
    )
    assert parse(document.encoded()) == document


def test_a_segments_file_is_read_with_the_document_and_kept_in_it(tmp_path: Path) -> None:
    (tmp_path / "staff.txt").write_text("7\n12\n")
    path = tmp_path / "rules.json"
    path.write_bytes(orjson.dumps({"rules": [], "segments": {"staff": {"file": "staff.txt", "customers": [1]}}}))
    document = read(path)
    assert document.segments["staff"].customers == (1, 7, 12)
    assert parse(document.encoded()) == document
    (tmp_path / "staff.txt").write_text("7\nseven\n")
    with pytest.raises(RulesInvalid, match=r"segments\.staff\.file: entry 2 is 'seven'"):
        read(path)


def filed(tmp_path: Path, ids: str, **further: Any) -> Path:
    (tmp_path / "club.txt").write_text(ids)
    path = tmp_path / "rules.json"
    path.write_bytes(orjson.dumps({"rules": [], "segments": {"club": {"file": "club.txt", **further}}}))
    return path


def test_a_segments_list_and_file_have_one_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.rules.document.MAX_CUSTOMERS", 3)
    assert read(filed(tmp_path, "2 3", customers=[1])).segments["club"].customers == (1, 2, 3)
    with pytest.raises(RulesInvalid, match=r"segments\.club\.file: and customers hold 4 ids together"):
        read(filed(tmp_path, "2 3 4", customers=[1]))


def test_a_document_is_refused_where_its_files_make_it_too_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = filed(tmp_path, "\n".join(map(str, range(1, 90))))
    read(path)
    monkeypatch.setattr("api.rules.document.MAX_BYTES", 300)
    with pytest.raises(RulesInvalid, match="longer than 300 bytes with the files of its segments"):
        read(path)
    with pytest.raises(RulesInvalid, match=r"club\.txt is longer than 300 bytes"):
        read(filed(tmp_path, "\n".join(map(str, range(1, 200)))))


def test_a_stored_id_takes_its_digits_and_a_comma() -> None:
    ids = list(range(10**9, 10**9 + 1_000))
    assert len(document_of(segments={"club": {"customers": ids}}).encoded()) < 11_100


@pytest.mark.parametrize("largest", [10**18, 2**63 - 1])
def test_files_hold_ids_as_large_as_documents_do(tmp_path: Path, largest: int) -> None:
    assert read(filed(tmp_path, str(largest))).segments["club"].customers == (largest,)
    with pytest.raises(RulesInvalid, match="write one customer id a line"):
        read(filed(tmp_path, str(2**63)))


def test_a_missing_file_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(RulesInvalid, match="can't be read"):
        read(tmp_path / "none.json")


IDS = st.integers(1, 60)
PARTS = st.tuples(
    st.sets(IDS), st.lists(st.tuples(IDS, st.integers(0, 9)).map(lambda pair: (pair[0], pair[0] + pair[1])))
)


def members(part: tuple[set[int], list[tuple[int, int]]]) -> set[int]:
    return part[0].union(*(range(first, last + 1) for first, last in part[1]))


@given(PARTS, PARTS)
def test_ranges_hold_who_they_should(one: tuple[Any, Any], other: tuple[Any, Any]) -> None:
    left, right = Ranges(*one), Ranges(*other)
    assert {customer for customer in range(80) if customer in left} == members(one)
    assert left.meets(right) is bool(members(one) & members(other))
    assert right.meets(left) is left.meets(right)


def test_the_largest_ids_fit() -> None:
    largest = 2**63 - 1
    both = Ranges([largest], [(1, largest)])
    assert largest in both
    assert Segments({"all": both}, ["all"]).of(largest) == 1
