"""Which of racksort's extras has a package that a verb needs and this environment hasn't."""

from __future__ import annotations

import re
from importlib import metadata
from typing import Final

_DISTRIBUTIONS: Final = {
    "OpenSSL": "pyopenssl",
    "hdrh": "hdrhistogram",
    "opentelemetry": "opentelemetry-sdk",
    "yaml": "pyyaml",
}
"""By module, where a distribution's name is another: metadata says so only of what is installed."""
_LARGEST_LAST: Final = ("train", "release", "evaluate", "dev")
"""Extras that share packages; metadata has them by name."""
_REQUIREMENT: Final = re.compile(r"^([\w.-]+).*\bextra\s*==\s*['\"]([\w-]+)['\"]")


def extras_with(module: str) -> list[str]:
    """The extras that bring ``module``, what is for one job before what is for all; none where no extra does."""
    package = module.partition(".")[0]
    distribution = _DISTRIBUTIONS.get(package, package).replace("_", "-").lower()
    try:
        requirements = metadata.requires("racksort") or []
    except metadata.PackageNotFoundError:
        return []
    found = [match.groups() for each in requirements if (match := _REQUIREMENT.match(each))]
    extras = sorted({extra for name, extra in found if name.replace("_", "-").lower() == distribution})
    return sorted(extras, key=lambda extra: _LARGEST_LAST.index(extra) if extra in _LARGEST_LAST else -1)
