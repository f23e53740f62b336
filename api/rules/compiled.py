"""A rule with what its document alone says of it, made ready once for all pages that it holds on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from api.rules.rule import Availability, Boost, Bury, Exclude, Rule
from api.rules.selection import Selection, needs


@dataclass(frozen=True, slots=True, eq=False)
class Compiled:
    """One rule."""

    rule: Rule
    selection: Selection | None
    """Its products; None of effects that don't select by ``products``."""
    needs: tuple[str, ...]
    """Columns of a catalog that it asks for."""

    @classmethod
    def of(cls, rule: Rule) -> Self:
        """Compile."""
        selection = Selection(rule.products) if isinstance(rule, Exclude | Availability | Boost | Bury) else None
        return cls(rule, selection, needs(rule))
