"""The OpenAPI document is complete: every operation is named, described and exemplified, and examples fit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from api.app import create_app
from api.parameters import PARAMETERS
from tests.faults.openapi_check import misfit
from tests.unit.api.conftest import UNHURRIED

DOCUMENT: dict[str, Any] = create_app(UNHURRIED).openapi()
OPERATIONS = {
    f"{method.upper()} {path}": operation
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_has_a_name_for_clients_and_a_summary(name: str) -> None:
    operation = OPERATIONS[name]
    assert operation["operationId"].isidentifier()
    assert "_v1_" not in operation["operationId"], "made of the path, not chosen"
    assert operation["summary"]
    assert set(operation["tags"]) <= {each["name"] for each in DOCUMENT["tags"]}
    for parameter in operation.get("parameters", ()):
        assert parameter["description"], parameter
        assert "example" in parameter or "examples" in parameter["schema"], parameter


def test_names_are_unique() -> None:
    names = [operation["operationId"] for operation in OPERATIONS.values()]
    assert len(set(names)) == len(names)


def contents(operation: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Bodies of the request and of the answers."""
    for media, content in operation.get("requestBody", {}).get("content", {}).items():
        yield f"request {media}", content
    for status, response in operation["responses"].items():
        for media, content in response.get("content", {}).items():
            yield f"{status} {media}", content


def examples(content: dict[str, Any]) -> list[Any]:
    """Of a body or, where there are none, of its schema."""
    schema = content["schema"]
    if "$ref" in schema:
        schema = DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    given = [content["example"]] if "example" in content else []
    given += [each["value"] for each in content.get("examples", {}).values()]
    return given or schema.get("examples", []) or ([schema["example"]] if "example" in schema else [])


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_body_has_examples_that_fit_its_schema(name: str) -> None:
    for where, content in contents(OPERATIONS[name]):
        found = examples(content)
        assert found, f"{where}: no example"
        for example in found:
            assert not misfit(DOCUMENT, content["schema"], example), where


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_answer_says_what_its_body_is(name: str) -> None:
    for status, response in OPERATIONS[name]["responses"].items():
        assert response["description"], status
        assert response["content"], status


def test_examples_of_problems_have_the_status_they_stand_for() -> None:
    for name, operation in OPERATIONS.items():
        for status, response in operation["responses"].items():
            content = response["content"].get("application/problem+json")
            if content is not None:
                assert content["example"]["status"] == int(status), name


def test_every_parameter_of_the_parser_is_in_the_document() -> None:
    names = [each["name"] for each in OPERATIONS["GET /v1/containers/{container_id}/products"]["parameters"]]
    assert set(names) == {"container_id", "X-Timeout-Ms", *(parameter.name for parameter in PARAMETERS)}
