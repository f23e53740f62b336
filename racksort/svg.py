"""Plots as SVG to be put into a page or beside a text."""

from __future__ import annotations

import io
import re
from typing import Final

import matplotlib as mpl
from matplotlib.figure import Figure

_REFERENCE: Final = re.compile(r'(url\(#|href="#)([\w.-]+)')
_ID: Final = re.compile(r' id="([^"]+)"')


def svg(figure: Figure, name: str) -> str:
    """The figure as an ``svg`` element; the same figure gives the same text.

    Args:
        figure: to be drawn.
        name: of letters, digits and dashes; its element ids begin with it, so that those of two figures of one page
            differ.
    """
    with mpl.rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}):
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    drawn = file.getvalue()[file.getvalue().index("<svg") :]
    used = {found[2] for found in _REFERENCE.finditer(drawn)}
    drawn = _REFERENCE.sub(rf"\g<1>{name}-\g<2>", drawn)
    # What nothing refers to needs no id; such ids, like "figure_1", are the same in every figure.
    return _ID.sub(lambda found: f' id="{name}-{found[1]}"' if found[1] in used else "", drawn)
