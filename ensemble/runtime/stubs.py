"""The model processes ("stubs") of an embedded server, as the process table and /dev/shm show them.

A dead stub is seen here at once. The server itself says so only in the answer to an inference, a second late, and
leaves it a zombie.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

_PROC: Final = Path("/proc")
_SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - Triton's own choice
_PROGRAM: Final = "triton_python_backend_stub"
_ENDED: Final = frozenset("ZX")


class Stub(NamedTuple):
    """One model instance's process."""

    pid: int
    model: str
    segment: str
    """Name of its shared memory."""
    version: str = ""
    """Name of the version folder that its code is in."""

    def alive(self, leader: int) -> bool:
        """Whether it runs as a child of this server; a zombie doesn't."""
        return group_of(self.pid) == leader

    def ending(self) -> str:
        """How it ended, in words; empty where that isn't known any more, as its parent knows it."""
        try:
            told = (_PROC / str(self.pid) / "stat").read_text().rsplit(")", 1)[1].split()
        except (FileNotFoundError, ProcessLookupError):
            return ""
        status = int(told[-1]) if told[0] in _ENDED else 0  # as of wait(2); 0 also where we may not know
        if status == 0:
            return ""
        return f"signal {status & 0x7F}" if status & 0x7F else f"exit status {status >> 8}"

    def remove_segment(self) -> None:
        """Remove the name of its shared memory; who has it mapped isn't disturbed."""
        if self.segment:
            (_SHARED_MEMORY / self.segment).unlink(missing_ok=True)


def group_of(pid: int) -> int | None:
    """The process group of a running process; None for one that has ended, whether or not its parent knows."""
    try:
        state, _, group = (_PROC / str(pid) / "stat").read_text().rsplit(")", 1)[1].split()[:3]
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if state in _ENDED else int(group)


def members(leader: int) -> list[int]:
    """The running processes of a group."""
    return [pid for entry in _PROC.glob("[0-9]*") if group_of(pid := int(entry.name)) == leader]


def of_server(leader: int) -> tuple[Stub, ...]:
    """The stubs that run now."""
    found = [_described(pid) for pid in members(leader) if pid != leader]
    return tuple(stub for stub in found if stub is not None)


def _described(pid: int) -> Stub | None:
    """A stub's command line is: program, file of the model, name of the shared memory, and more."""
    try:
        arguments = (_PROC / str(pid) / "cmdline").read_bytes().decode(errors="replace").split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return None
    if len(arguments) < 3 or Path(arguments[0]).name != _PROGRAM:
        return None
    code = Path(arguments[1])
    return Stub(pid, code.parent.parent.name, Path(arguments[2]).name, code.parent.name)
