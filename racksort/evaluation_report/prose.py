"""The few marks of Markdown that the report's own texts use, as HTML."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape
from typing import Final

_MARKS: Final = (
    (re.compile(r"`([^`]+)`"), r"<code>\1</code>"),
    (re.compile(r"\*\*([^*]+)\*\*"), r"<strong>\1</strong>"),
    (re.compile(r"(?<!\w)\*([^*\s][^*]*)\*"), r"<em>\1</em>"),
)


def html(text: str) -> str:
    """Paragraphs, ``* `` lists and ``## `` headings with code, bold and italic words; any other mark stays as it is."""
    return "".join(_blocks(text))


def inline(text: str) -> str:
    """One line of it."""
    line = escape(text, quote=False)
    for mark, element in _MARKS:
        line = mark.sub(element, line)
    return line


def _blocks(text: str) -> Iterator[str]:
    for block in re.split(r"\n\s*\n", text.strip()):
        if block.startswith("## "):
            yield f"<h2>{inline(block[3:])}</h2>\n"
        elif block.startswith("* "):
            items = re.split(r"^\* ", block, flags=re.MULTILINE)[1:]
            yield "<ul>\n" + "".join(f"<li>{inline(_joined(item))}\n" for item in items) + "</ul>\n"
        else:
            yield f"<p>{inline(_joined(block))}</p>\n"


def _joined(lines: str) -> str:
    return " ".join(lines.split())
