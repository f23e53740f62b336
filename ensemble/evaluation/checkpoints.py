"""Keeps what a run of the evaluation has finished, so that one that was broken off goes on where it was.

A unit of work leaves figures (a JSON object) and arrays in one file, which is whole or absent. What the unit depends on
is written into it; a file that doesn't say exactly what is asked for, or can't be read, is made anew.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ensemble.npz import UNREADABLE
from ensemble.releases.files import explained, replace

Record = dict[str, Any]
"""A JSON object."""

NOT_KEPT: Final = "what was finished can't be kept: make room or make it writable, and run again"
"""What it means that a file of an evaluation can't be written."""
_FORMAT: Final = 2
"""Of the files."""
_FACTS: Final = "facts"
"""The array with everything that isn't one."""
_DIGITS: Final = 16
"""Of a digest in a name."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What one unit of work leaves."""

    facts: Record
    """JSON-ready, without NaN."""
    arrays: dict[str, npt.NDArray[Any]] = field(default_factory=dict)
    """None of them of objects."""
    seconds: float = 0.0
    """Wall time that it took when it was made."""


class Checkpoints:
    """The finished units of runs with the same fingerprint.

    Args:
        root: folder of all evaluations.
        fingerprint: what every unit depends on, such as digests of the data and of the code, and the versions of the
            packages that compute. JSON-ready.
        clock: seconds, for the time each unit takes.
        notice: told in one line what was kept but can't be used.
        fresh: forget everything that was kept under ``root``.

    Raises:
        RacksortError: the folder can't be made or written to.
    """

    def __init__(
        self,
        root: Path,
        fingerprint: Record,
        clock: Callable[[], float],
        notice: Callable[[str], None],
        *,
        fresh: bool = False,
    ) -> None:
        self._folder = root / digest_of(fingerprint)
        self._fingerprint, self._clock, self._notice = fingerprint, clock, notice
        self.recalled = 0
        """Units that were there already."""
        self.made = 0
        """Units that weren't."""
        with explained(root, "an evaluation keeps its parts there: make it writable"):
            if fresh and root.is_dir():
                shutil.rmtree(root)
            if root.is_dir() and any(root.iterdir()) and not self._folder.is_dir():
                notice(
                    f"{root}: what is kept there was made of other data, or by another version of the code or of a "
                    "package; all is made anew"
                )
            self._folder.mkdir(parents=True, exist_ok=True)

    def folder(self, name: str) -> Path:
        """A place for what units share; need not be there. It goes with them when all is made anew."""
        return self._folder / name

    def unit(self, name: str, inputs: Record, make: Callable[[], Kept]) -> Kept:
        """What the unit left when it was made, in this run or an earlier one.

        Args:
            name: of the unit, for people.
            inputs: what it depends on beside the fingerprint. JSON-ready.
            make: does the work; its ``seconds`` are filled in here.

        Raises:
            RacksortError: the result can't be written.
        """
        described = self._described(name, inputs)
        # The digest is of the whole name too: "pool: A/B" and "pool: A B" are written alike.
        digest = digest_of({"unit": name, "inputs": inputs})
        path = self._folder / f"{re.sub(r'[^a-z0-9]+', '-', name.lower())}-{digest}.npz"
        if (held := self._read(path, described)) is not None:
            self.recalled += 1
            return held
        began = self._clock()
        made = make()
        made = Kept(made.facts, made.arrays, self._clock() - began)
        self._write(path, described, made)
        self.made += 1
        return made

    def _read(self, path: Path, described: Record) -> Kept | None:
        try:
            # Opened here, since NumPy leaves a file open that it can't read.
            with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            held = json.loads(str(arrays.pop(_FACTS)))
            if held["of"] != described:
                self._notice(f"{path}: belongs to another run; made anew")
                return None
            return Kept(held["facts"], arrays, float(held["seconds"]))
        except FileNotFoundError:
            return None
        except (*UNREADABLE, TypeError) as error:
            reason = str(error).partition("\n")[0] or type(error).__name__
            self._notice(f"{path}: damaged ({reason}); made anew")
            return None

    def _write(self, path: Path, described: Record, made: Kept) -> None:
        facts = {"of": described, "facts": made.facts, "seconds": made.seconds}
        content = io.BytesIO()
        np.savez_compressed(content, **{_FACTS: np.array(json.dumps(facts, allow_nan=False))}, **made.arrays)
        with explained(path, NOT_KEPT):
            replace(path, content.getvalue())

    def _described(self, name: str, inputs: Record) -> Record:
        # As JSON gives it back: tuples are lists and keys are text.
        of = {"format": _FORMAT, "unit": name, "fingerprint": self._fingerprint, "inputs": inputs}
        described: Record = json.loads(json.dumps(of))
        return described


def digest_of(described: Record) -> str:
    """A short name of a JSON object; the same object gives the same name, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:_DIGITS]
