"""What a release costs by customers, products and candidates, as a picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ensemble.scale.shop import Size
from loadtest.scale import Case
from racksort.svg import svg


def draw(cases: Sequence[Case]) -> str:
    """An ``svg`` element of three plots: megabytes over customers, over products, and CPU time over candidates.

    A point over customers is a release that differs from the others there in nothing else, and so over products: the
    most usual of the other numbers are taken.
    """
    figure = Figure(figsize=(11, 4), layout="constrained")
    customers, products, candidates = figure.subplots(1, 3)
    made = [(case, case.size) for case in cases if case.size is not None]
    _sizes(customers, "customers", made, lambda size: size.customers, lambda size: (size.products, size.history))
    _sizes(products, "products", made, lambda size: size.products, lambda size: (size.customers, size.history))
    for case in cases:
        candidates.plot(list(case.row_us), list(case.row_us.values()), "-o", label=case.name, markersize=3)
    candidates.set_xlabel("candidates")
    candidates.set_ylabel("µs of CPU a row, three models")
    candidates.set_ylim(bottom=0)
    candidates.legend(fontsize="small")
    return svg(figure, "scale")


def _sizes(
    panel: Axes,
    label: str,
    made: Sequence[tuple[Case, Size]],
    of: Callable[[Size], int],
    others: Callable[[Size], tuple[float, float]],
) -> None:
    """Megabytes on disk and in memory over one number of the sizes, where the other numbers are the same."""
    alike = [others(size) for _, size in made]
    usual = max(alike, key=alike.count, default=None)
    points = sorted(((of(size), case) for case, size in made if others(size) == usual), key=lambda point: point[0])
    at = [number for number, _ in points]
    panel.plot(at, [case.size_mb for _, case in points], "-o", label="on disk", markersize=3)
    panel.plot(at, [case.rss_mb for _, case in points], "--s", label="models' RSS", markersize=3)
    panel.plot(at, [case.pss_mb for _, case in points], ":^", label="models' PSS", markersize=3)
    panel.set_xscale("log")
    panel.set_yscale("log")
    panel.set_xlabel(label)
    panel.set_ylabel("MB")
    panel.legend(fontsize="small")
