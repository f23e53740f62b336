"""The command line in an environment that has the packages of requirements/adapter.txt alone.

``python -m tests.k8s.adapter_only serve ...`` finds no other installed package.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import packages_distributions
from pathlib import Path
from types import ModuleType

LOCK = Path(__file__).parent.parent.parent / "requirements" / "adapter.txt"


def hide_other_packages() -> None:
    """Have the import system find only what the lock's packages bring, and racksort itself."""
    locked = {_normal(name) for name in re.findall(r"^([\w.-]+)==", LOCK.read_text(), re.MULTILINE)} | {"racksort"}
    foreign = {
        module for module, names in packages_distributions().items() if not locked & {_normal(name) for name in names}
    }

    class Locked(PathFinder):
        @classmethod
        def find_spec(
            cls, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
        ) -> ModuleSpec | None:
            return None if fullname in foreign else PathFinder.find_spec(fullname, path, target)

    sys.meta_path[:] = [Locked if finder is PathFinder else finder for finder in sys.meta_path]


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    hide_other_packages()
    from racksort.cli import main

    main()
