"""The model card of a release: what it is made of, how good it was measured to be, and what it can't do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from ensemble import contract
from ensemble.contract import TensorSpec
from ensemble.errors import RacksortError
from ensemble.json_content import parsed
from ensemble.ranking import RankingSettings
from ensemble.releases.layout import CHECK, TRAINING
from ensemble.releases.payload import Payload

_ABOUT: Final = (
    "sorts the products of a container for a customer. Three models score each candidate, and the ranking step makes a "
    "list of the scores."
)
_SAYS: Final = {
    contract.CATEGORY_AFFINITY.name: "whether the customer buys from the category within 7 days (logit)",
    contract.PRODUCT_POOL.name: "how much more than usual the product sells at its offer (log of the lift)",
    contract.COLLABORATIVE_FILTER.name: "whether the customer buys the product within 7 days (logit)",
    contract.RANKING.name: "the order: a weighted sum of the three, then the rules of the list",
}
_LIMITS: Final = """\
- Known customers are those with purchases in the data above. Others, and visitors who aren't logged in, get what sells,
  by price, promotion and recent demand, until events of their own come with the request.
- A product without sales in the data is scored as its leaf category's; an unknown category has no taste to go by.
- A request's recent events ({recent} at most) are counted; what happened before them and after the data is not known.
- Learned from purchases, not from what was shown: the figures above say how well what was bought was found again, not
  what a list would sell. Promotion response is not causal.
- A row holds up to {candidates} candidates and a call up to {rows} rows; scores of a product don't depend on the other
  candidates, its place does where the settings have a discount, a cap or a share."""


def render(release: Payload, report: bytes | None = None) -> str:
    """The card, in Markdown. The same files give the same card.

    Args:
        release: what is published.
        report: the check's report, as JSON, where it was checked.

    Raises:
        RacksortError: a file that the card tells of can't be read.
    """
    training = _json_of(release.sources.get(f"{release.name}/1/{TRAINING}"))
    settings = release.sources.get(f"{contract.RANKING.name}/{release.versions[contract.RANKING.name]}/settings.json")
    limits = _LIMITS.format(
        recent=contract.RECENT, candidates=f"{contract.MAX_CANDIDATES:,}", rows=contract.MAX_BATCH_SIZE
    )
    parts = [
        f"# Release {release.number}",
        f"Ensemble `{release.name}`: {_ABOUT}",
        *_section("Data", _data(release, training)),
        *_section("Models", _models(release)),
        *_section("Quality", _quality(training)),
        *_section("Check", _check(report)),
        *_section("Ranking", _ranking(settings)),
        "## Limits",
        limits,
        *_section("Files", _files(release)),
    ]
    text = "\n\n".join(parts) + "\n"
    return text.encode(errors="backslashreplace").decode()  # JSON may hold halves of characters


def _section(title: str, lines: Iterable[str]) -> list[str]:
    return [f"## {title}", "\n".join(lines)]


def _data(release: Payload, training: Mapping[str, Any]) -> Iterator[str]:
    validation = _mapping(training.get("validation"))
    choice = _mapping(validation.get("choice"))
    until = release.candidate.history_until_day
    yield "| | |"
    yield "| --- | --- |"
    yield f"| tables hold purchases until | {_moment(until)} |"
    yield f"| made for week | {training.get('week', 'not recorded')} |"
    yield f"| trained on weeks | {_weeks(training.get('train_weeks'))} |"
    yield f"| blend chosen on weeks | {_weeks(choice.get('weeks'))} |"
    yield f"| measured on weeks | {_weeks(validation.get('weeks'))} |"
    if (sample := _number(training.get("sample"))) is not None:
        yield f"| share of the customers | {sample:.0%} |"
    yield f"| seed | {training.get('seed', 'not recorded')} |"


def _models(release: Payload) -> Iterator[str]:
    sizes = {entry.path: entry.size for entry in release.files}
    yield "| model | version | bytes | says | reads | gives |"
    yield "| --- | ---: | ---: | --- | --- | --- |"
    for model in contract.MODELS:
        version = release.versions[model.name]
        size = sum(bytes_ for path, bytes_ in sizes.items() if path.startswith(f"{model.name}/{version}/"))
        tensors = f"{_names(model.inputs)} | {_names(model.outputs)}"
        yield f"| {model.name} | {version} | {size:,} | {_SAYS[model.name]} | {tensors} |"
    yield ""
    yield f"`offer` holds {', '.join(contract.OFFER)}; `context` holds {' and '.join(contract.CONTEXT)}."


def _quality(training: Mapping[str, Any]) -> Iterator[str]:
    quality = _mapping(_mapping(training.get("validation")).get("quality"))
    if not quality:
        yield "Not recorded: the release has no training.json with measurements."
        return
    names = list(dict.fromkeys(name for measured in quality.values() for name in _mapping(measured)))
    yield f"| ranking | {' | '.join(names)} |"
    yield f"| --- |{' ---: |' * len(names)}"
    for ranking, measured in quality.items():
        yield f"| {ranking} | {' | '.join(_figure(_mapping(measured).get(name)) for name in names)} |"
    yield ""
    parity = [value for each in _mapping(training.get("parity")).values() if (value := _number(each)) is not None]
    yield "`list` is what is served; the others are what it is made of, and baselines."
    if parity:
        yield f"Exported models differ from the trained ones by {max(parity):.1g} at most, on real rows."


def _check(report: bytes | None) -> Iterator[str]:
    if report is None:
        yield "Published without a check's report."
        return
    found = _parsed(report, "the check's report")
    against = found.get("live")
    compared = f", compared with {against}" if against else ""
    yield f"{'Passed' if found.get('passed') else 'Not passed'}{compared}; the whole report is `{CHECK}`."
    if sections := [_mapping(each) for each in _list(found.get("sections"))]:
        yield ""
        yield "| check | verdict | figure |"
        yield "| --- | --- | --- |"
        yield from (f"| {_cell(e, 'name')} | {_cell(e, 'verdict')} | {_cell(e, 'figure')} |" for e in sections)
    if findings := [_mapping(each) for each in _list(found.get("findings"))]:
        yield ""
        yield from (f"- {_cell(e, 'severity')}: {_cell(e, 'where')}: {_cell(e, 'what')}" for e in findings)


def _cell(values: Mapping[str, Any], name: str) -> str:
    """A value within a table or a list: on one line."""
    return " ".join(str(values.get(name, "")).replace("|", "/").split())


def _ranking(path: Path | None) -> Iterator[str]:
    if path is None:
        yield "The settings are the code's defaults."
        return
    try:
        settings = RankingSettings.from_json(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise RacksortError(f"{path}: {error}; write the release again with `racksort train`") from error
    yield "| setting | value |"
    yield "| --- | ---: |"
    for name in ("affinity", "demand", "preference", "bias"):
        yield f"| {'weight of ' if name != 'bias' else ''}{name} | {getattr(settings, name):.4f} |"
    yield f"| slope of scores above {settings.tail_from:g} | {settings.tail_slope:.4f} |"
    yield f"| discount for each product of its category ahead | {settings.category_discount:g} |"
    yield f"| products of a category, at most | {settings.category_cap or 'no cap'} |"
    yield f"| share of products that are new to the customer, at least | {settings.discovery_share:.0%} |"


def _files(release: Payload) -> Iterator[str]:
    yield f"Digest `sha256:{release.digest}`: of what `sha256sum` writes of these files, sorted by path."
    yield ""
    yield "| file | bytes | SHA-256 |"
    yield "| --- | ---: | --- |"
    for entry in release.files:
        yield f"| {entry.path} | {entry.size:,} | `{entry.sha256}` |"


def _json_of(path: Path | None) -> Mapping[str, Any]:
    return {} if path is None else _parsed(path.read_bytes(), str(path))


def _parsed(content: bytes, name: str) -> Mapping[str, Any]:
    try:
        found = parsed(content)
    except ValueError as error:
        raise RacksortError(f"{name}: not JSON ({error}); write the release anew") from error
    return _mapping(found)


def _mapping(value: Any) -> Mapping[str, Any]:
    """The value if it is an object, else an empty one: a card tells what is recorded."""
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> Sequence[Any]:
    """The value if it is a list, else an empty one."""
    return value if isinstance(value, list) else ()


def _moment(day: float | None) -> str:
    if day is None:
        return "not recorded"
    return f"{datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=day):%Y-%m-%d %H:%M} UTC"


def _weeks(weeks: Any) -> str:
    return ", ".join(map(str, weeks)) if isinstance(weeks, Sequence) and weeks else "not recorded"


def _names(tensors: Iterable[TensorSpec]) -> str:
    return ", ".join(tensor.name for tensor in tensors)


def _figure(value: Any) -> str:
    number = _number(value)
    return "" if number is None else f"{number:.4f}"


def _number(value: Any) -> float | None:
    """The value if it is a number that float64 holds."""
    try:
        return float(value) if isinstance(value, int | float) else None
    except OverflowError:
        return None
