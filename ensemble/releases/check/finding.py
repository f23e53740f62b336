"""What a check finds, and what all of them together say of a release."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Final

from ensemble.json_content import finite

Record = dict[str, Any]
"""A JSON object."""


class Severity(StrEnum):
    """What follows from a finding."""

    WARNING = "warning"
    """To be known; the release may be published."""
    REFUSED = "refused"
    """The release may not be published. It can be served, so that the other checks run."""
    UNSERVABLE = "unservable"
    """The release may not be published, and it is neither loaded nor served for further checks."""


class Verdict(StrEnum):
    """What came out of one check."""

    PASSED = "passed"
    REFUSED = "refused"
    SKIPPED = "skipped"
    """Somebody wanted it so, or there is nothing to check with; the figure says which."""
    NOT_RUN = "not run"
    """Impossible, because of what another check found."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault."""

    check: str
    """Name of the check."""
    severity: Severity
    where: str
    """File, model or figure."""
    what: str
    """What is wrong with it."""
    remedy: str
    """What to do."""

    @property
    def line(self) -> str:
        """The finding in one line."""
        return f"{self.where}: {self.what}; {self.remedy}"


@dataclass(frozen=True, slots=True)
class Result:
    """What one check returns."""

    findings: tuple[Finding, ...] = ()
    figure: str = ""
    """The figure that decides, in a few words."""
    data: Record = field(default_factory=dict)
    """Everything that was measured; JSON-ready."""
    skipped: bool = False
    """There was nothing to check with; ``figure`` says what is missing."""


@dataclass(frozen=True, slots=True)
class Section:
    """One check in the report."""

    name: str
    verdict: Verdict
    figure: str
    seconds: float
    data: Record


@dataclass(frozen=True, slots=True)
class Report:
    """All checks of one candidate. What ``to_json`` gives is stored with a published release."""

    release: str
    """Name of the ensemble."""
    repository: str
    live: str | None
    """Name of the release that it was compared with."""
    digest: str
    """See ``digest.digest_of``."""
    checked_at: str
    """ISO 8601."""
    machine: Record
    bounds: Record
    """The options that the verdicts follow from."""
    sections: tuple[Section, ...]
    findings: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        """Whether the release may be published."""
        return not self.refusals

    @property
    def refusals(self) -> tuple[Finding, ...]:
        """The findings for which it may not."""
        return tuple(found for found in self.findings if found.severity is not Severity.WARNING)

    @property
    def skipped(self) -> tuple[str, ...]:
        """Names of the checks that somebody or something kept from running."""
        return tuple(section.name for section in self.sections if section.verdict is Verdict.SKIPPED)

    def summary(self) -> str:
        """One line."""
        if self.passed:
            left_out = f", without {', '.join(self.skipped)}" if self.skipped else ""
            return f"{self.release} passed{left_out}"
        first, others = self.refusals[0], len(self.refusals) - 1
        return f"{self.release} is refused: {first.line}" + (f" (and {others} more)" if others else "")

    def to_json(self) -> Record:
        """The report as a JSON object, with null for a figure that is infinite or no number."""
        return {"format": FORMAT, "passed": self.passed, **finite(asdict(self))}


FORMAT: Final = 1
"""Of the JSON."""

_LONGEST: Final = 500
"""Characters of a finding's text."""


class Faults:
    """Collects one check's findings."""

    def __init__(self, check: str) -> None:
        self._check = check
        self.found: list[Finding] = []

    def add(self, where: str, what: str, remedy: str, severity: Severity = Severity.REFUSED) -> None:
        """One more. Names from a candidate's files come as one line of plain characters, whatever they are."""
        self.found.append(Finding(self._check, severity, _plain(where), _plain(what), remedy))

    def result(self, figure: str, data: Record | None = None) -> Result:
        """What the check returns."""
        return Result(tuple(self.found), figure, data or {})


def _plain(text: str) -> str:
    """The text in one line, without what a terminal would obey, and not without end."""
    line = "".join(each if each.isprintable() else "?" for each in " ".join(text.split()))
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}..."


def servable(findings: Sequence[Finding]) -> bool:
    """Whether a release with these findings may be loaded at all."""
    return all(found.severity is not Severity.UNSERVABLE for found in findings)
