"""Which tests run with nothing beside them: what is marked ``e2e`` or ``alone``, and all that isn't named here."""

from __future__ import annotations

from pathlib import Path

import pytest

SIDE_BY_SIDE = (
    "faults/test_edge_generated.py",
    "faults/test_edge_limits.py",
    "faults/test_edge_timeouts.py",
    "faults/test_mutations.py",
    "k8s/test_",
    "simulation/",
    "unit/",
)
"""Tests that may run beside each other: they share no server, and their clocks are passed in."""


@pytest.hookimpl(tryfirst=True)  # before -m looks at the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        path = item.path.relative_to(Path(__file__).parent).as_posix()
        if not path.startswith(SIDE_BY_SIDE) or item.get_closest_marker("e2e"):
            item.add_marker(pytest.mark.alone)
