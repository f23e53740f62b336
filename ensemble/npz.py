"""NumPy's packed files (``.npz``) that may be damaged, or made by a stranger."""

from __future__ import annotations

import lzma
import zipfile
import zlib
from pathlib import Path
from typing import Final

UNREADABLE: Final = (
    OSError,
    EOFError,
    KeyError,
    ValueError,
    MemoryError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
)
"""What ``np.load`` and the arrays of a damaged file raise: which of them depends on where the damage is."""


def require_small(path: Path, most_bytes: float) -> None:
    """Refuse a packed file that would fill the memory: it may claim any size.

    Raises:
        ValueError: says its size.
        OSError, zipfile.BadZipFile: it can't be opened.
    """
    with zipfile.ZipFile(path) as packed:
        size = sum(entry.file_size for entry in packed.infolist())
    if size > most_bytes:
        raise ValueError(f"it unpacks to {size:,} bytes")
