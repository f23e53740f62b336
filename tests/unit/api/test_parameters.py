from __future__ import annotations

import json
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.errors import MAX_FAULTS, InvalidParameter
from api.parameters import DEFAULT_PAGE, MAX_ID, MAX_PAGE, MAX_QUERY_STRING, PARAMETERS, parse_query
from api.types import ExplainedQuery, Query, Recent, ReleaseQuery

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


@given(
    container=TEXT,
    customer=st.none() | st.integers(0, MAX_ID),
    limit=st.none() | st.integers(1, MAX_PAGE),
    category=st.none() | TEXT,
    explain=st.booleans(),
    why_not=st.none() | st.integers(1, MAX_ID),
    order=st.randoms(use_true_random=False),
)
def test_what_a_client_encodes_is_what_is_asked_for(
    container: str,
    customer: int | None,
    limit: int | None,
    category: str | None,
    explain: bool,
    why_not: int | None,
    order: object,
) -> None:
    given_parameters = {
        "customer_id": customer,
        "limit": limit,
        "category": category,
        "why_not": why_not,
        "explain": str(explain).lower(),
    }
    pairs = [(name, value) for name, value in given_parameters.items() if value is not None]
    order.shuffle(pairs)  # type: ignore[attr-defined]
    query = parse_query(quote(container, safe="").encode(), urlencode(pairs).encode())
    page = DEFAULT_PAGE if limit is None else limit
    if explain or why_not is not None:
        assert query == ExplainedQuery(container, customer, page, category, why_not=why_not)
    else:
        assert query == Query(container, customer, page, category)


@given(path=st.binary(max_size=30), query_string=st.binary(max_size=60))
def test_any_bytes_are_a_query_or_the_callers_fault(path: bytes, query_string: bytes) -> None:
    try:
        query = parse_query(path, query_string)
    except InvalidParameter:
        return
    assert 1 <= query.limit <= MAX_PAGE
    assert query.customer_id is None or 0 <= query.customer_id <= MAX_ID
    (query.container_id + (query.category or "")).encode()  # can be shown in an answer


@pytest.mark.parametrize("value", ["True", "1", "yes", "tru", "true "])
def test_a_truth_is_true_or_false_and_nothing_else(value: str) -> None:
    with pytest.raises(InvalidParameter, match="neither true nor false"):
        parse_query(b"deals", f"explain={quote(value)}".encode())


@given(st.text(max_size=25))
def test_a_customer_id_is_digits_and_nothing_else(text: str) -> None:
    query_string = urlencode({"customer_id": text}, errors="replace").encode()
    plain = text.isascii() and text.isdigit()
    if plain and int(text) <= MAX_ID:
        assert parse_query(b"deals", query_string).customer_id == int(text)
    elif not text:
        assert parse_query(b"deals", query_string).customer_id is None
    else:
        with pytest.raises(InvalidParameter):
            parse_query(b"deals", query_string)


@pytest.mark.parametrize("value", ["1_000", "+5", "%205", "5.0", "٣", "0x10", "-0", "1e3", "9" * 4_000])
def test_what_python_would_take_for_a_number_isnt_one(value: str) -> None:
    with pytest.raises(InvalidParameter, match="customer_id"):
        parse_query(b"deals", f"customer_id={quote(value, safe='%+')}".encode())


@pytest.mark.parametrize("query_string", [b"", b"&", b"customer_id=", b"customer_id", b"customer_id=&limit=&category="])
def test_an_empty_value_counts_as_not_given(query_string: bytes) -> None:
    assert parse_query(b"deals", query_string) == Query("deals")


def test_every_wrong_parameter_is_named() -> None:
    with pytest.raises(InvalidParameter) as caught:
        parse_query(b"deals", b"customer_id=x&limit=0&limit=4&offset=3")
    assert [fault.field for fault in caught.value.faults] == ["customer_id", "limit", "limit", "offset"]


def test_an_answer_names_so_many_faults_and_no_more() -> None:
    with pytest.raises(InvalidParameter) as caught:
        parse_query(b"deals", b"&".join(b"x%d=1" % number for number in range(500)))
    assert len(caught.value.faults) == MAX_FAULTS
    with pytest.raises(InvalidParameter) as caught:
        parse_query(b"deals", b"&".join([b"x"] * 1_000))
    assert len(caught.value.faults) == 1, "the same fault is named more than once"


def test_a_query_string_beyond_measure_isnt_read() -> None:
    with pytest.raises(InvalidParameter, match="longer than"):
        parse_query(b"deals", b"customer_id=5&" + b"&" * MAX_QUERY_STRING)


@pytest.mark.parametrize("query_string", [b"y" * 4_000, b"limit=" + b"y" * 4_000, b"limit=%00" + b"y" * 4_000])
def test_what_is_repeated_of_a_wrong_parameter_is_short(query_string: bytes) -> None:
    with pytest.raises(InvalidParameter) as caught:
        parse_query(b"deals", query_string)
    assert 100 < len(str(caught.value)) < 250


def test_the_document_promises_what_the_parser_does() -> None:
    for parameter in PARAMETERS:
        schema = parameter.openapi()["schema"]
        for edge, step in (("minimum", -1), ("maximum", 1)):
            if edge in schema:
                assert parameter.parse(str(schema[edge])) == schema[edge]
                with pytest.raises(ValueError, match="isn't a whole number"):
                    parameter.parse(str(schema[edge] + step))
        example = json.dumps(parameter.example, ensure_ascii=False).strip('"')
        parsed = parameter.parse(example)
        assert isinstance(parsed, Recent) or parsed == parameter.example


def test_a_release_is_asked_for_by_a_query_of_its_own_kind() -> None:
    named = parse_query(b"deals", b"customer_id=7&release=2")
    assert isinstance(named, ReleaseQuery)
    assert (named.customer_id, named.release) == (7, 2)
    explained = parse_query(b"deals", b"release=2&explain=true")
    assert isinstance(explained, ExplainedQuery)
    assert explained.release == 2
    assert type(parse_query(b"deals", b"release=&explain=false")) is Query
