"""What a comparison with peers says: bests, ratios, tables, picture, and which arguments are refused."""

from __future__ import annotations

import io
import json
import math
import re
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from ensemble.errors import RacksortError
from loadtest.peers.markdown import text
from loadtest.peers.measured import OURS, Comparison, Point, Tried, best_settings
from loadtest.peers.plot import draw
from racksort.cli import app
from racksort.commands.loadtest.peers import best_table, points_table


def point(
    server: str, rate: float, p99: float = 10.0, *, pools: str = "lists", loop: str = "closed", errors: int = 0
) -> Point:
    return Point(server, pools, loop, 64, rate, p99 / 2, p99 / 3, p99, errors, 250.0)  # type: ignore[arg-type]


@pytest.fixture
def came() -> Comparison:
    points = [
        point(OURS, 8_000),
        point(OURS, 9_000, p99=60.0),
        point(OURS, 3_000, pools="grids"),
        point("bound", 16_000),
        point("A", 2_000),
        point("A", 5_000, errors=1),
        point("A", 7_000, loop="open"),
        point("B", 4_000),
        point("B", 6_000, p99=50.0),
        point("C", 6_000, p99=math.nan),
    ]
    return Comparison(points=points, bounds=["bound"], failed={"D": "it is broken"})


def test_the_best_is_of_the_closed_loop_in_time_and_without_errors(came: Comparison) -> None:
    assert came.best(OURS, "lists") == 8_000
    assert came.best("A", "lists") == 2_000
    assert came.best("B", "lists") == 4_000
    assert math.isnan(came.best("C", "lists"))
    assert came.ratio("A", "lists") == 4.0
    assert came.ratio("bound", "lists") == 0.5
    assert math.isnan(came.ratio("A", "grids"))


def test_the_best_peer_is_never_a_bound(came: Comparison) -> None:
    assert came.best_peer("lists") == "B"
    assert came.best_peer("grids") is None


def test_json_has_no_nan(came: Comparison) -> None:
    read = json.loads(json.dumps(came.to_json(), allow_nan=False))
    assert {"server": "A", "pools": "lists", "requests_per_s": 2_000, "racksort_over_it": 4.0} in read["best"]
    assert {"server": "A", "pools": "grids", "requests_per_s": None, "racksort_over_it": None} in read["best"]
    assert len(read["points"]) == len(came.points)
    assert read["failed"] == {"D": "it is broken"}


def test_tables_have_every_point_and_every_server(came: Comparison) -> None:
    console = Console(width=120, record=True, file=io.StringIO())
    assert points_table(came).row_count == len(came.points)
    console.print(points_table(came))
    console.print(best_table(came))
    printed = console.export_text()
    assert re.search(r"B .* 4,000 .* 2\.00 x .* none .* -", printed)
    assert "64/s, open" in printed


def test_markdown_has_every_point_every_server_and_what_failed(came: Comparison) -> None:
    came.machine.update(cores=2, seconds=10, load_before=0.1)
    came.settings["B"] = {"workers": 2, "fast_queue": True}
    written = text(came)
    assert "| B | 4,000 | 2.00 x | none | - | `workers` 2, `fast_queue` true |" in written
    assert "| A | lists | 64/s, open | 7,000 | 5.0 | 3.3 | 10.0 | 0 | 250 |" in written
    assert written.count("\n| A | lists |") == 3
    assert "D isn't measured: it is broken" in written


def test_the_plot_is_the_same_file_for_the_same_run(came: Comparison, tmp_path: Path) -> None:
    draw(came, tmp_path / "a.svg")
    draw(came, tmp_path / "b.svg")
    drawn = (tmp_path / "a.svg").read_text()
    assert drawn == (tmp_path / "b.svg").read_text()
    assert "8,000" in drawn
    with pytest.raises(RacksortError, match="nothing was measured"):
        draw(Comparison(), tmp_path / "c.svg")


def test_settings_are_chosen_by_what_counts_first() -> None:
    fast_but_late = Tried({"n": 1}, (point("A", 9_000, p99=80.0),))
    in_time = Tried({"n": 2}, (point("A", 100), point("A", 9_500, p99=70.0)))
    better = Tried({"n": 3}, (point("A", 200),))
    assert best_settings([fast_but_late, in_time, better]) == {"n": 3}
    assert best_settings([fast_but_late, Tried({"n": 4}, (point("A", 8_000, p99=80.0),))]) == {"n": 1}


def test_an_unknown_peer_is_told_before_anything_starts() -> None:
    done = CliRunner().invoke(app, ["loadtest", "peers", "--only", "nobody"])
    assert isinstance(done.exception, RacksortError)
    assert "nobody" in str(done.exception)


@pytest.mark.parametrize("arguments", [["--connections", "64,x"], ["--grid-connections", "0"]])
def test_wrong_numbers_are_told_before_anything_starts(arguments: list[str]) -> None:
    done = CliRunner().invoke(app, ["loadtest", "peers", *arguments])
    assert done.exit_code == 2
    assert f"Invalid value for {arguments[0]}: '{arguments[1]}'" in done.output
