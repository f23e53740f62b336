"""The ranking step of a candidate: foreign code, loaded as Triton would load it, in a process of its own."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from ensemble import contract
from ensemble.releases.check.files import RANKING_FILES, plain
from ensemble.releases.check.finding import Faults, Result, Severity
from ensemble.releases.check.isolated import StoppedError, Tell, isolated
from ensemble.releases.check.options import Options
from ensemble.releases.layout import Release

_MODEL, _CODE, _SETTINGS = RANKING_FILES
_REMEDIES: Final = {
    _MODEL: "mend it, or copy ensemble/ranking_model.py there",
    _CODE: "mend it, or copy ensemble/ranking.py there",
    _SETTINGS: "set what the message names, or write it again with `racksort train`",
}


def check(release: Release, options: Options) -> Result:
    """The code compiles and loads, its own ``RankingSettings`` take ``settings.json``, and the model initialises."""
    faults = Faults("ranking")
    folder = release.version_dirs[contract.RANKING.name]
    where = folder.relative_to(release.repository).as_posix()
    if not all(plain(release, folder / name) for name in RANKING_FILES):
        return faults.result("not looked at")  # the files' check has said so
    for name in (_CODE, _MODEL):
        if fault := _syntax(folder / name):
            faults.add(f"{where}/{name}", fault, _REMEDIES[name], Severity.UNSERVABLE)
    if faults.found:
        return faults.result("doesn't compile")
    try:
        failed: dict[str, Any] = isolated(_load, folder, timeout_s=options.code_s, most_bytes=options.process_bytes)
    except StoppedError as error:
        faults.add(where, f"loading the code {error}", "see what it does when it is loaded", Severity.UNSERVABLE)
        return faults.result("doesn't load")
    if failed["what"]:
        name = failed["file"]
        faults.add(f"{where}/{name}", failed["what"], _REMEDIES[name], Severity.UNSERVABLE)
        return faults.result("doesn't load")
    return faults.result("loads", {"settings": failed["settings"]})


def _syntax(path: Path) -> str:
    """Why a file isn't Python; empty where it is."""
    try:
        compile(path.read_bytes(), path.name, "exec", dont_inherit=True)
    except SyntaxError as error:
        return f"isn't Python: {error.msg} (line {error.lineno})"
    except (ValueError, RecursionError, MemoryError, OSError) as error:
        return f"isn't Python: {error}"
    return ""


def _load(tell: Tell, folder: Path) -> dict[str, Any]:
    """Which file fails to load and why, or the settings; runs in a process of its own."""
    at = _CODE
    try:
        tell(at)
        load = _module(folder / _CODE, "candidate_ranking").RankingSettings.load
        at = _SETTINGS
        tell(at)
        settings = load(folder / _SETTINGS)
        at = _MODEL
        tell(at)
        sys.modules["triton_python_backend_utils"] = _backend_utils()
        model = _module(folder / _MODEL, "candidate_model").TritonPythonModel()
        tell(f"{at}, initialize")
        model.initialize(
            {
                "model_name": contract.RANKING.name,
                "model_version": folder.name,
                "model_repository": str(folder.parent),
                "model_config": "{}",
            }
        )
    except BaseException as error:  # noqa: BLE001 foreign code may raise anything, SystemExit included
        said = str(error).replace(f"{folder}/", "")
        what = said if at == _SETTINGS and isinstance(error, ValueError) else f"{type(error).__name__}: {said}"
        return {"file": at, "what": f"can't be loaded: {what}"[:300], "settings": {}}
    plain_settings = {name: value for name, value in vars(settings).items() if isinstance(value, (int, float, str))}
    return {"file": "", "what": "", "settings": plain_settings}


def _module(path: Path, name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path.name} can't be loaded")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def _backend_utils() -> ModuleType:
    """What Triton's stub gives to a model's code, as far as loading it needs."""
    utils = ModuleType("triton_python_backend_utils")
    for name in ("Tensor", "InferenceRequest", "InferenceResponse", "TritonError", "TritonModelException"):
        setattr(utils, name, type(name, (Exception,), {}))
    utils.get_input_tensor_by_name = lambda _request, _name: None  # type: ignore[attr-defined] # made up here
    return utils
