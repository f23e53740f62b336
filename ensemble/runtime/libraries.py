"""Where the embedded server's parts lie: the wheel's server and its libraries, and the interpreter's own library."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import shutil
import sys
import sysconfig
from pathlib import Path

from ensemble.errors import RacksortError

_BACKENDS = Path(__file__).parent / "backends"


def server_root() -> Path:
    """Folder of the Triton server inside the nvidia-pytriton wheel (bin, backends, python_backend_stubs).

    Raises:
        RacksortError: the wheel isn't installed.
    """
    spec = importlib.util.find_spec("pytriton")
    if spec is None or spec.origin is None:
        raise RacksortError(
            "the embedded Triton is missing: install racksort[embedded] (Linux on x86-64), or use --triton HOST:PORT"
        )
    return Path(spec.origin).parent / "tritonserver"


def interpreter_library() -> Path | None:
    """Folder of ``libpythonX.Y.so``, which the Python backend's stub is linked with; None where the system finds it.

    Raises:
        RacksortError: it is nowhere; says how to install it.
    """
    name = f"libpython{sys.version_info.major}.{sys.version_info.minor}.so.1.0"
    for folder in (Path(sys.prefix) / "lib", Path(str(sysconfig.get_config_var("LIBDIR")))):
        if (folder / name).exists():
            return folder
    try:
        ctypes.CDLL(name)
    except OSError:
        package = name.split(".so", maxsplit=1)[0]
        raise RacksortError(
            f"Triton's Python backend needs {name}: install it with 'apt-get install {package}', or run 'make setup'"
        ) from None
    return None


def library_path() -> str:
    """``LD_LIBRARY_PATH`` for the server and its stubs."""
    folders = [server_root().parent.parent / "nvidia_pytriton.libs"]
    interpreter = interpreter_library()
    if interpreter is not None:
        folders.append(interpreter)
    inherited = os.environ.get("LD_LIBRARY_PATH")
    return os.pathsep.join([*map(str, folders), *([inherited] if inherited else [])])


def assemble_backends(target: Path) -> None:
    """Build the backend directory under ``target``: the wheel's Python backend with the stub of this interpreter, and
    our ONNX Runtime backend. The wheel itself stays untouched.
    """
    root = server_root()
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = root / "python_backend_stubs" / version / "triton_python_backend_stub"
    if not stub.exists():
        raise RacksortError(f"the embedded Triton has no stub for Python {version}: use Python 3.11")
    shutil.copytree(root / "backends" / "python", target / "python")  # Triton refuses links out of the directory
    shutil.copy2(stub, target / "python")
    shutil.copytree(_BACKENDS / "onnxruntime", target / "onnxruntime", ignore=shutil.ignore_patterns("__pycache__"))
