import dataclasses
import io
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from rich.console import Console

from ensemble.data.dataset import Dataset, silent
from ensemble.evaluation import measuring, report, split
from ensemble.evaluation.baselines import tuned
from ensemble.evaluation.report import Record
from ensemble.evaluation.study import Line, Plot, Study, Table
from racksort.evaluation_report import markdown, method, page, plots, prose, standing, tables, terminal
from tests.unit.evaluation.shops import FEW, VALIDATION_WEEKS, WEEKS, Served, checkpoints

BAD = "<script>alert('1')</script> & | *"
STUDY = Study(
    key="odd",
    title=f"Odd names {BAD}",
    question="Is `0.5` **more** than nothing?",
    findings=("Yes: +3.25 %.", f"And {BAD}"),
    tables=(
        Table("By age", ("days", "value", BAD), ((1, 0.12345, None), (70_000, 12_345.678, "x|y")), note="A note."),
    ),
    plots=tuple(
        Plot(
            f"{kind} {BAD}",
            "days",
            "NDCG@10",
            (
                Line("one", (1.0, 2.0, 4.0), (0.5, float("nan"), 0.25), (0.4, 0.0, 0.2), (0.6, 1.0, 0.3)),
                Line(BAD, (1.0, 4.0), (0.25, 0.75)),
            ),
            kind,  # type: ignore[arg-type] # one of the literals
            diagonal=kind == "scatter",
        )
        for kind in ("line", "bar", "scatter")
    ),
)


@pytest.fixture(scope="module")
def figures(shop: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Record]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(split, "VALIDATION_WEEKS", VALIDATION_WEEKS)
        patch.setattr(tuned, "GRIDS", FEW)
        kept = checkpoints(tmp_path_factory.mktemp("kept"))
        result = measuring.Comparison(shop, Served().ensemble(), silent, kept, WEEKS).result()
        yield report.record(dataclasses.replace(result, studies=(STUDY,)), shop.source, "personalize_v1 by fake")


@pytest.fixture(scope="module")
def drawn(figures: Record) -> dict[str, str]:
    return plots.drawn(figures)


class Page(HTMLParser):
    """Collects what a page consists of, and refuses what isn't closed in the order in which it was opened."""

    VOID = frozenset({"meta", "br", "img", "link", "path", "use"})
    # HTML closes these by itself.
    LOOSE = frozenset({"html", "tr", "td", "th", "li", "p"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text: list[str] = []
        self.cells: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag in {"table", "td", "th"}:
            self.cells.append("")
        if tag not in self.VOID | self.LOOSE:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.LOOSE | self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)
        if "table" in self.open:
            self.cells[-1] += data


def numbers(value: Any) -> Iterator[float]:
    if isinstance(value, dict):
        for each in value.values():
            yield from numbers(each)
    elif isinstance(value, list):
        for each in value:
            yield from numbers(each)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield float(value)


def test_the_page_is_sound_and_fetches_nothing(figures: Record, drawn: dict[str, str]) -> None:
    text = page.rendered(figures, drawn)
    found = Page(text)
    tags = {tag for tag, _, _ in found.attributes}
    assert not tags & {"script", "img", "link", "iframe", "object", "embed", "image"}
    assert "<script" not in text
    names = {value for _, name, value in found.attributes if name == "id"}
    ids = [value for _, name, value in found.attributes if name == "id"]
    assert len(ids) == len(names)
    for tag, name, value in found.attributes:
        if name in {"href", "src", "xlink:href"}:
            assert value[:1] == "#", (tag, name, value)
            assert value[1:] in names
    assert not re.search(r"@import|url\((?!#)", text)
    assert set(re.findall(r"url\(#([^)]*)\)", text)) <= names
    assert text.count("<svg") == len(drawn) == 3 + 3
    assert "".join(found.text).count(BAD) >= 4


def test_every_number_of_the_tables_is_the_record_s(figures: Record, drawn: dict[str, str]) -> None:
    cells = [cell for cell in Page(page.rendered(figures, drawn)).cells if re.search(r"\d", cell)]
    known = sorted(set(numbers(figures)) | set(map(float, figures["protocol"]["judged"])))
    headers = {*tables.ACCURACY, *tables.WHAT}
    checked = 0
    for cell in cells:
        if any(header in cell for header in headers) or "@10" in cell or "=" in cell:
            continue
        for written in re.findall(r"[-+]?\d[\d,]*\.?\d*(?:e-\d+)?%?", cell):
            percent = written.endswith("%")
            value = float(written.rstrip("%").replace(",", "")) / (100 if percent else 1)
            decimals = len(written.rstrip("%").partition(".")[2].partition("e")[0])
            # Rounded at the last digit shown, and the record itself holds six decimals.
            room = (0.5 * 10**-decimals) / (100 if percent else 1) + 1e-6
            if "e" in written:
                room = abs(value) * 0.1
            assert any(abs(value - each) <= room for each in known), cell
            checked += 1
    assert checked > 300


def test_every_headline_is_on_the_page_and_in_the_text(figures: Record, drawn: dict[str, str]) -> None:
    html, text = page.rendered(figures, drawn), markdown.page(figures, list(drawn))
    for setting in figures["settings"].values():
        for name, found in setting["methods"].items():
            shown = tables.with_interval(found["metrics"]["ndcg@10"])
            for whole in (html, text):
                assert name in whole
                assert shown in whole
        for pair in setting["differences"]:
            relative = tables.with_interval(pair["ndcg@10"]["relative"], "{:+.1%}")
            assert relative in html
            assert relative in text


def test_the_text_names_every_plot_that_lies_beside_it_and_escapes_cells(
    figures: Record, drawn: dict[str, str]
) -> None:
    text = markdown.page(figures, list(drawn))
    assert set(re.findall(r"\]\(evaluation-([\w-]+)\.svg\)", text)) == set(drawn)
    assert "evaluation-" not in markdown.page(figures, [])
    assert "x\\|y" in text
    widths = [len(re.findall(r"(?<!\\)\|", line)) for line in text.splitlines() if line.startswith("|")]
    assert min(widths) > 2
    assert "**Split.**" in text
    assert text.count("\nHits:\n") == len(figures["settings"])
    assert all(f"* *{name}*: " in text for name in figures["tuned"])


def test_plots_are_whole_svg_and_the_same_each_time(figures: Record, drawn: dict[str, str]) -> None:
    for text in drawn.values():
        ET.fromstring(text)  # noqa: S314  # made here
    assert plots.drawn(figures) == drawn
    assert "ensemble" in drawn["headline"]


def test_where_the_ensemble_stands_follows_from_the_intervals(figures: Record) -> None:
    changed = json.loads(json.dumps(figures))
    pairs = changed["settings"]["full catalogue"]["differences"]
    for pair, (low, high) in zip(pairs, [(0.1, 0.2), (-0.1, 0.2), (-0.2, -0.1)], strict=False):
        pair["ndcg@10"] |= {"low": low, "high": high}
    for pair in pairs[3:]:
        pair["ndcg@10"] |= {"low": 0.1, "high": 0.2}
    first = standing.summary(changed)[0]
    above = ", ".join([pairs[0]["baseline"], *(pair["baseline"] for pair in pairs[3:])])
    told_apart, below = pairs[1]["baseline"], pairs[2]["baseline"]
    assert first == (
        f"Over the full catalogue, by NDCG@10, the ensemble is above {above}; not told apart from {told_apart}; "
        f"below {below}."
    )
    for pair in pairs:
        pair["ndcg@10"] |= {"low": 0.1, "high": 0.2}
    assert standing.summary(changed)[0].endswith(f"is above all {len(pairs)} baselines by NDCG@10.")
    assert standing.summary(figures | {"release": None}) == ["The baselines alone; no release was judged."]


def test_figures_of_weeks_that_settings_were_chosen_on_say_so(figures: Record, drawn: dict[str, str]) -> None:
    assert "test weeks 10 to 11" in page.rendered(figures, drawn)
    assert not any("development" in each for each in standing.summary(figures))
    flattered = figures | {"protocol": figures["protocol"] | {"chosen_on_judged": True}}
    caution = "Judged on the validation weeks 10 to 11"
    assert standing.summary(flattered)[0].startswith(caution)
    assert standing.summary(flattered | {"release": None})[0].startswith(caution)
    assert caution in page.rendered(flattered, drawn)
    assert caution in markdown.page(flattered, list(drawn))


def test_the_terminal_is_told_the_headline_and_each_study_s_first_finding(figures: Record) -> None:
    console = Console(width=160, record=True, file=io.StringIO())
    for part in terminal.brief(figures):
        console.print(part)
    text = console.export_text()
    for name, found in figures["settings"]["full catalogue"]["methods"].items():
        assert name in text
        assert tables.with_interval(found["metrics"]["ndcg@10"]) in text
    assert "Yes: +3.25 %." in text
    assert BAD in text


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (None, "-"),
        ("a", "a"),
        (66_298, "66,298"),
        (0.0, "0.0000"),
        (0.12345, "0.1235"),
        (0.00012345, "0.00012"),
        (-7.5, "-7.5000"),
        (12.34, "12.3"),
        (98765.4, "98,765"),
    ],
)
def test_cells(cell: float | str | None, text: str) -> None:
    assert tables.shown(cell) == text


def test_prose_knows_its_few_marks() -> None:
    text = "## A & B\n\n**Bold.** `a*b*c` and *soft*,\n2 * 3 * 4 < 5.\n\n* one\n  more\n* *two*\n"
    assert prose.html(text) == (
        "<h2>A &amp; B</h2>\n"
        "<p><strong>Bold.</strong> <code>a*b*c</code> and <em>soft</em>, 2 * 3 * 4 &lt; 5.</p>\n"
        "<ul>\n<li>one more\n<li><em>two</em>\n</ul>\n"
    )


def test_the_run_that_wrote_the_pages_is_told_of_with_what_it_judged(figures: Record, drawn: dict[str, str]) -> None:
    assert "This run" not in method.text(figures)
    run = {
        "seconds": 2_538,
        "processes": 8,
        "made": 1,
        "recalled": 1_035,
        "release": "0123456789abcdef",
        "data": "da7a" * 16,
        "code": "c0de" * 16,
    }
    told = figures | {"run": run}
    assert (
        "**This run** took 42.3 min from the command's start to the last figure; the pages were drawn afterwards. "
        "Processes: 8. Parts made: 1; taken from earlier runs: 1,035. Judged: release `0123456789ab`, "
        "data `da7ada7ada7a`, measured by code `c0dec0dec0de` (the"
    ) in markdown.page(told, list(drawn))
    assert "<strong>This run</strong> took 42.3 min" in page.rendered(told, drawn)
    alone = method.text(figures | {"run": run | {"release": None}})
    assert "Judged: data `da7ada7ada7a`, " in alone


def test_every_baseline_is_described() -> None:
    assert set(tuned.GRIDS) <= set(method.BASELINES)
