"""The Grafana dashboard, from rows of panels."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

UID: Final = "racksort"
_WIDTH: Final = 24
"""Columns of Grafana's grid."""
_HEIGHT: Final = 8


@dataclass(frozen=True, slots=True)
class Query:
    """One line, or one for each label's value."""

    expr: str
    legend: str


@dataclass(frozen=True, slots=True)
class Panel:
    """A plot over time."""

    title: str
    unit: str
    """Grafana's name: "s", "reqps", "percentunit", "short", "bytes"."""
    queries: tuple[Query, ...]
    says: str = ""
    """What to see in it."""
    line_at: float | None = None
    """Where a promise ends."""


@dataclass(frozen=True, slots=True)
class Row:
    """Panels side by side under a title."""

    title: str
    panels: tuple[Panel, ...]


def dashboard(title: str, rows: tuple[Row, ...]) -> str:
    """The dashboard as Grafana's JSON."""
    panels: list[dict[str, Any]] = []
    y = 0
    for row in rows:
        panels.append({
            "id": len(panels) + 1, "type": "row", "title": row.title, "collapsed": False, "panels": [],
            "gridPos": {"x": 0, "y": y, "w": _WIDTH, "h": 1},
        })  # fmt: skip
        y += 1
        width = _WIDTH // len(row.panels)
        for place, panel in enumerate(row.panels):
            panels.append(_panel(panel, len(panels) + 1, {"x": place * width, "y": y, "w": width, "h": _HEIGHT}))
        y += _HEIGHT
    return json.dumps(_around(title, panels), indent=2) + "\n"


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.line_at is not None:
        steps.append({"color": "red", "value": panel.line_at})
    return {
        "id": number,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.says,
        "datasource": {"type": "prometheus", "uid": "${source}"},
        "gridPos": place,
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "min": 0,
                "thresholds": {"mode": "absolute", "steps": steps},
                "custom": {"thresholdsStyle": {"mode": "off" if panel.line_at is None else "line"}},
            },
            "overrides": [],
        },
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "expr": query.expr,
                "legendFormat": query.legend,
                "datasource": {"type": "prometheus", "uid": "${source}"},
            }
            for index, query in enumerate(panel.queries)
        ],
    }


def _around(title: str, panels: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "uid": UID,
        "title": title,
        "tags": ["racksort"],
        "schemaVersion": 39,
        "version": 1,
        "editable": False,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "utc",
        "templating": {
            "list": [{"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}]
        },
        "annotations": {"list": []},
        "panels": panels,
    }
