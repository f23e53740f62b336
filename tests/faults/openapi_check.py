"""Whether a value fits a schema of the OpenAPI document: the keywords that this project's document uses."""

from __future__ import annotations

import re
from typing import Any

_TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
}
_SAYS_NOTHING = {"title", "description", "default", "examples", "example", "format"}
_KNOWN = {
    *("$ref", "anyOf", "oneOf", "type", "enum", "const", "properties", "required", "additionalProperties", "items"),
    *("pattern", "minimum", "exclusiveMinimum", "maximum", "minItems", "maxItems", "uniqueItems"),
    *("if", "then", "else"),
}


def misfit(document: dict[str, Any], schema: dict[str, Any], value: Any, where: str = "") -> str:
    """What is wrong with ``value``, with the place; empty where nothing is."""
    unknown = schema.keys() - _KNOWN - _SAYS_NOTHING
    assert not unknown, f"teach this check {unknown}"
    if "$ref" in schema:
        target: Any = document
        for part in schema["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        return misfit(document, target, value, where)
    if "oneOf" in schema:
        fitting = [choice for choice in schema["oneOf"] if not misfit(document, choice, value, where)]
        if len(fitting) != 1:
            return f"{where}: fits {len(fitting)} of {schema['oneOf']}"
    if "anyOf" in schema:
        faults = [misfit(document, choice, value, where) for choice in schema["anyOf"]]
        return "" if "" in faults else " and ".join(faults)
    if "if" in schema:
        branch = schema["else" if _misfit_of_named(document, schema["if"], value, where) else "then"]
        if fault := _misfit_of_named(document, branch, value, where):
            return fault
    return _wrong_value(schema, value, where) or _wrong_parts(document, schema, value, where)


def _misfit_of_named(document: dict[str, Any], schema: dict[str, Any], value: Any, where: str) -> str:
    """The same for the properties alone that the schema names."""
    return misfit(document, schema, {name: value[name] for name in schema["properties"] if name in value}, where)


def _wrong_value(schema: dict[str, Any], value: Any, where: str) -> str:
    kind = schema.get("type")
    if kind is not None and (not isinstance(value, _TYPES[kind]) or (isinstance(value, bool) and kind != "boolean")):
        return f"{where}: {value!r} is no {kind}"
    choices = schema.get("enum", [schema["const"]] if "const" in schema else [value])
    if value not in choices:
        return f"{where}: {value!r} is none of {choices}"
    if "pattern" in schema and re.search(schema["pattern"], value) is None:
        return f"{where}: {value!r} doesn't match {schema['pattern']}"
    if isinstance(value, (int, float)) and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        return f"{where}: {value!r} is out of bounds"
    if isinstance(value, (int, float)) and "exclusiveMinimum" in schema and value <= schema["exclusiveMinimum"]:
        return f"{where}: {value!r} is out of bounds"
    return ""


def _wrong_parts(document: dict[str, Any], schema: dict[str, Any], value: Any, where: str) -> str:
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        missing = set(schema.get("required", ())) - value.keys()
        unknown = value.keys() - properties.keys() if properties else set()
        if missing or unknown:
            return f"{where}: missing {missing}, unknown {unknown}"
        parts = [(properties.get(name, {}), part, f"{where}.{name}") for name, part in value.items()]
    elif isinstance(value, list):
        if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
            return f"{where}: {len(value)} items"
        if schema.get("uniqueItems") and any(each in value[:at] for at, each in enumerate(value)):
            return f"{where}: an item is there twice"
        parts = [(schema.get("items", {}), part, f"{where}[{number}]") for number, part in enumerate(value)]
    else:
        return ""
    return next((fault for part in parts if (fault := misfit(document, *part))), "")
