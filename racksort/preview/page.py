"""The preview's HTML: one file without scripts or anything from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from itertools import zip_longest
from typing import Final

from api.rules.document import Document
from racksort.page import head
from racksort.preview.replay import Compared, Result

_MOST_PAGES: Final = 60

_STYLE: Final = """
:root { --gone: #c0392b22; --came: #27ae6022; }
table.pages { table-layout: fixed; } table.pages .n { width: 3rem; }
.gone { background: var(--gone); } .came { background: var(--came); }
.id { font-variant-numeric: tabular-nums; } .what { color: var(--soft); font-size: .85em; }
.move { font-weight: 600; white-space: nowrap; } .still { color: var(--soft); }
.rule { border: 1px solid var(--line); border-radius: .6em; padding: 0 .45em; font-size: .8em; white-space: nowrap; }
"""


def rendered(title: str, result: Result, document: Document, names: Mapping[int, str]) -> str:
    """The whole file.

    Args:
        title: of the document.
        result: what was replayed.
        document: the rules of after.
        names: what products are called, as far as that is known.
    """
    return "".join(_parts(title, result, document, names))


def _parts(title: str, result: Result, document: Document, names: Mapping[int, str]) -> Iterator[str]:
    found, changed = result.summary(), result.changed()
    yield head(f"{title}: what would move", _STYLE)
    yield f"<h1>{escape(title)}: what would move</h1>\n"
    if document.note:
        yield f"<p>{escape(document.note)}</p>\n"
    yield f"<p>{found['changed']} of {found['requests']} pages change, {found['moved']:,} products move.</p>\n"
    yield '<table>\n<tr><th>rule<th>effect<th class="n">requests it held for<th class="n">products it touched\n'
    effect = {rule.id: rule.effect for rule in document.rules}
    for name, each in found["rules"].items():
        yield f"<tr><td>{escape(name)}<td>{effect[name]}"
        yield f'<td class="n">{each["requests"]:,}<td class="n">{each["products"]:,}\n'
    yield "</table>\n"
    for page in changed[:_MOST_PAGES]:
        yield from _side_by_side(page, names)
    if len(changed) > _MOST_PAGES:
        yield f"<p>{len(changed) - _MOST_PAGES} more pages change.</p>\n"


def _side_by_side(page: Compared, names: Mapping[int, str]) -> Iterator[str]:
    query = page.query
    who = "anonymous" if not query.customer_id else f"customer {query.customer_id}"
    narrowed = f", category {escape(query.category)}" if query.category else ""
    yield f"<h2>{escape(query.container_id)}{narrowed}, {who}: {page.moved()} products move</h2>\n"
    yield '<table class="pages">\n<tr><th class="n"><th>before<th>after\n'
    before, after = page.before.tolist(), page.after.tolist()
    was = {product: place for place, product in enumerate(before, 1)}
    becomes = {product: place for place, product in enumerate(after, 1)}
    for place, (old, new) in enumerate(zip_longest(before, after), 1):
        yield f'<tr><td class="n">{place}'
        if old is None:
            yield "<td>"
        else:
            gone = old not in becomes
            yield (
                f'<td class="gone">{_product(page, old, names, told=True)}'
                if gone
                else f"<td>{_product(page, old, names)}"
            )
        if new is None:
            yield "<td>\n"
        else:
            came = new not in was
            yield f'<td class="{"came" if came else "stays"}">{_product(page, new, names, told=True)}'
            yield f" {_movement(was.get(new), place)}\n"
    yield "</table>\n"


def _product(page: Compared, product: int, names: Mapping[int, str], *, told: bool = False) -> str:
    name = names.get(product, "")
    tags = (touch.rule_id for touch in page.touches.get(product, ())) if told else ()
    rules = "".join(f' <span class="rule">{escape(tag)}</span>' for tag in dict.fromkeys(tags))
    return f'<span class="id">{product}</span> <span class="what">{escape(name)}</span>{rules}'


def _movement(was: int | None, place: int) -> str:
    if was is None:
        return '<span class="move">new here</span>'
    if was == place:
        return ""
    arrow, css = ("▲", "move") if place < was else ("▼", "still")
    return f'<span class="{css}">{arrow}{abs(was - place)}</span>'
