"""A document of rules: parsed, validated, and free of contradictions. Every fault names the rule, the field and the
remedy.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from api.errors import Fault, RulesInvalid, shortened
from api.rules.contradictions import contradictions
from api.rules.rule import EFFECTS, MAX_ID, CustomerId, Rule, Slug
from api.rules.segments import BUILT_IN, Ranges, Segments

FORMAT: Final = 1
MAX_RULES: Final = 1_000
MAX_SEGMENTS: Final = 60
MAX_BYTES: Final = 64 * 1024 * 1024
MAX_CUSTOMERS: Final = 2_000_000
"""Ids of one segment, those of its list and of its file together."""


class SegmentDefinition(BaseModel):
    """Who belongs to a segment: the customers of all fields that are given."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    customers: tuple[CustomerId, ...] = Field(default=(), max_length=MAX_CUSTOMERS)
    ranges: tuple[tuple[CustomerId, CustomerId], ...] = Field(default=(), max_length=MAX_CUSTOMERS)
    """Both ends belong to it."""
    file: str | None = None
    """One id a line; read when the document is, relative to it, and kept in what is applied."""

    @model_validator(mode="after")
    def _somebody(self) -> SegmentDefinition:
        if not self.customers and not self.ranges and self.file is None:
            raise ValueError("holds nobody; give customers, ranges or a file")
        for first, last in self.ranges:
            if first > last:
                raise ValueError(f"the range [{first}, {last}] falls; swap its ends")
        return self


class Document(BaseModel):
    """One version of a shop's rules."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    format: Literal[1] = FORMAT
    note: str = Field(default="", max_length=1_000)
    segments: dict[Slug, SegmentDefinition] = Field(default={}, max_length=MAX_SEGMENTS)
    rules: Annotated[tuple[Rule, ...], Field(max_length=MAX_RULES)]

    def encoded(self) -> bytes:
        """The document as it is stored: on one line, without what has its default."""
        content = self.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        return orjson.dumps({"format": FORMAT, **content}) + b"\n"

    def segmentation(self) -> Segments:
        """Who belongs to the segments that rules name."""
        ranges = {name: Ranges(each.customers, each.ranges) for name, each in self.segments.items()}
        return Segments(ranges, (name for rule in self.rules for name in rule.scope.segments or ()))


EMPTY: Final = Document(rules=())


def read(path: Path) -> Document:
    """Read and check a file; files of segments are read as well.

    Raises:
        RulesInvalid: it can't be read, or something is wrong with it.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise RulesInvalid(
            str(path), Fault("the file", f"can't be read ({error.strerror}); name a document of rules")
        ) from None
    return parse(content, str(path), folder=path.parent)


def parse(content: bytes, where: str = "rules", *, folder: Path | None = None, checked: bool = False) -> Document:
    """Check a document's text.

    Args:
        content: JSON.
        where: what errors call it.
        folder: where files of segments are; None where there may be none.
        checked: whether it was looked through for contradictions before, which takes as long as all else where
            segments are large.

    Raises:
        RulesInvalid: something is wrong with it, all of it said at once, up to ``MAX_FAULTS``.
    """
    if len(content) > MAX_BYTES:
        raise RulesInvalid(where, Fault("the file", f"is longer than {MAX_BYTES} bytes; split a segment"))
    try:
        raw = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise RulesInvalid(where, Fault("the file", f"isn't JSON ({error}); see docs/rules.md")) from None
    if not isinstance(raw, dict):
        raise RulesInvalid(where, Fault("the file", 'isn\'t an object; write {"rules": [...]}'))
    try:
        document = Document.model_validate(raw)
    except ValidationError as error:
        raise RulesInvalid(where, *(_fault(each, raw) for each in error.errors(include_url=False))) from None
    faults = [*_names(document), *_unknown_segments(document)]
    if faults:
        raise RulesInvalid(where, *faults)
    document = _with_files(document, where, folder)
    if folder is not None and len(document.encoded()) > MAX_BYTES:
        said = f"is longer than {MAX_BYTES} bytes with the files of its segments; give ranges"
        raise RulesInvalid(where, Fault("the document", said))
    if not checked and (faults := contradictions(document)):
        raise RulesInvalid(where, *faults)
    return document


def rule_field(rule_id: str, *path: object) -> str:
    """How faults name a field of a rule."""
    return ".".join([f"rule {rule_id!r}", *map(str, path)])


def _fault(error: Any, raw: dict[str, Any]) -> Fault:
    """A pydantic error with the rule's own id instead of its number, and what is known instead of what isn't."""
    path = list(error["loc"])
    message = error["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    if error["type"] in {"union_tag_invalid", "union_tag_not_found"}:
        path, message = [*path, "effect"], f"must be one of {', '.join(EFFECTS)}"
    elif error["type"] == "extra_forbidden":
        message = "there is no such field; see docs/rules.md"
    if len(path) > 1 and path[0] == "rules" and isinstance(path[1], int):
        entry = raw["rules"][path[1]]
        name = entry.get("id") if isinstance(entry, dict) else None
        where = [part for part in path[2:] if part not in EFFECTS or part == "effect"]
        if isinstance(name, str):
            return Fault(rule_field(shortened(name), *where), message)
        return Fault(".".join([f"rule number {path[1] + 1}", *map(str, where)]), message)
    return Fault(".".join(map(str, path)) or "the file", message)


def _names(document: Document) -> Iterator[Fault]:
    for name, count in Counter(rule.id for rule in document.rules).items():
        if count > 1:
            yield Fault(rule_field(name, "id"), f"{count} rules have this id; give each its own")
    for name in BUILT_IN:
        if name in document.segments:
            yield Fault(f"segments.{name}", "is built in; choose another name")


def _unknown_segments(document: Document) -> Iterator[Fault]:
    known = [*document.segments, *BUILT_IN]
    for rule in document.rules:
        for name in rule.scope.segments or ():
            if name not in known:
                nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
                yield Fault(
                    rule_field(rule.id, "scope", "segments"),
                    f"there is no segment {shortened(name)!r}; define it under segments, or did you mean {nearest!r}?",
                )


def _with_files(document: Document, where: str, folder: Path | None) -> Document:
    """The document with the ids of its segments' files in it, so that it is whole by itself."""
    segments = dict(document.segments)
    for name, definition in document.segments.items():
        if definition.file is None:
            continue
        field = f"segments.{name}.file"
        if folder is None:
            raise RulesInvalid(where, Fault(field, "files are read by `racksort rules apply` only; give the ids"))
        ids = _ids(folder / definition.file, where, field)
        if (count := len(definition.customers) + len(ids)) > MAX_CUSTOMERS:
            said = f"and customers hold {count} ids together; give {MAX_CUSTOMERS} at most, or ranges"
            raise RulesInvalid(where, Fault(field, said))
        segments[name] = definition.model_copy(update={"customers": (*definition.customers, *ids), "file": None})
    return document.model_copy(update={"segments": segments})


def _ids(path: Path, where: str, field: str) -> list[int]:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise RulesInvalid(where, Fault(field, f"{path} can't be read ({error.strerror})")) from None
    if len(content) > MAX_BYTES:
        raise RulesInvalid(where, Fault(field, f"{path} is longer than {MAX_BYTES} bytes; give ranges"))
    lines = content.split()
    for number, line in enumerate(lines, 1):
        if not (line.isdigit() and len(line) <= len(str(MAX_ID)) and 0 < int(line) <= MAX_ID):
            shown = shortened(line.decode("utf-8", "replace"))
            raise RulesInvalid(where, Fault(field, f"entry {number} is {shown!r}; write one customer id a line"))
    if not 0 < len(lines) <= MAX_CUSTOMERS:
        raise RulesInvalid(where, Fault(field, f"holds {len(lines)} ids; give 1 to {MAX_CUSTOMERS}"))
    return [int(line) for line in lines]
