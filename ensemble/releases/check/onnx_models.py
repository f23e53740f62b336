"""The three ONNX files of a candidate: what they hold, and how they behave on ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np

from ensemble import contract
from ensemble.releases.check import invariance
from ensemble.releases.check.files import MODEL_FILE, plain, process_bytes, too_large
from ensemble.releases.check.finding import Faults, Result, Severity
from ensemble.releases.check.isolated import StoppedError, Tell, isolated
from ensemble.releases.check.options import Options
from ensemble.releases.layout import Release
from ensemble.tensors import Tensors

_READ_S: Final = 60.0
_RUN_S: Final = 60.0
_LOOK: Final = "open it with onnx.checker and ONNX Runtime to see why, and export it again"


def check_files(release: Release, options: Options) -> Result:
    """Everything that can be told of the files without running them; ``onnx_file`` has the list.

    A file above the bound isn't read.
    """
    faults = Faults("onnx")
    for model in contract.ONNX_MODELS:
        path = _path(release, model.name)
        where = path.relative_to(release.repository).as_posix()
        if not plain(release, path) or too_large(path.stat().st_size, options):
            continue  # the files' check has said so
        try:
            found = isolated(_read, path, model.name, timeout_s=_READ_S, most_bytes=process_bytes(release, options))
        except StoppedError as error:
            faults.add(where, f"reading it {error}", _LOOK, Severity.UNSERVABLE)
            continue
        for what, remedy, unservable in found:
            faults.add(where, what, remedy, Severity.UNSERVABLE if unservable else Severity.REFUSED)
    return faults.result(f"{len(contract.ONNX_MODELS)} files")


def check_behaviour(release: Release, rows: Tensors, options: Options) -> Result:
    """Each model alone: finite for whatever it is asked, and the same however a row is asked.

    Args:
        release: the candidate.
        rows: of ``probes.hard``: odd ids, padding and recent events among them.
        options: the tolerance.
    """
    faults, data = Faults("models"), {}
    worst = 0.0
    for model in contract.ONNX_MODELS:
        path = _path(release, model.name)
        where = path.relative_to(release.repository).as_posix()
        try:
            found: dict[str, Any] = isolated(
                _run, path, model.name, dict(rows), timeout_s=_RUN_S, most_bytes=process_bytes(release, options)
            )
        except StoppedError as error:
            faults.add(where, f"running it {error}", _LOOK, Severity.UNSERVABLE)
            continue
        if found["error"]:
            faults.add(where, f"doesn't run: {found['error']}", _LOOK, Severity.UNSERVABLE)
            continue
        for what in found["faults"]:
            faults.add(where, what, "make every input give a finite answer of the contract's shape")
        for name, apart in found["apart"].items():
            if not apart <= options.tolerance:
                faults.add(where, invariance.said(name, apart, options.tolerance), invariance.REMEDY)
        data[model.name] = found["apart"]
        worst = max(worst, *found["apart"].values()) if found["apart"] else worst
    return faults.result(f"up to {worst:.1g} apart", data)


def _path(release: Release, name: str) -> Path:
    return release.version_dirs[name] / MODEL_FILE


def _read(tell: Tell, path: Path, name: str) -> list[tuple[str, str, bool]]:
    from ensemble.releases.check.onnx_file import faults_of  # noqa: PLC0415 onnx in the other process alone

    tell("reading")
    return [(*fault,) for fault in faults_of(path, name)]


def _run(tell: Tell, path: Path, name: str, rows: Tensors) -> dict[str, Any]:
    """Run a model on the rows in every arrangement; what is wrong in words, and the differences by arrangement."""
    from ensemble.onnx_files import session  # noqa: PLC0415

    spec = next(model for model in contract.ONNX_MODELS if model.name == name)
    outputs = [tensor.name for tensor in spec.outputs]
    try:
        tell("loading")
        model = session(path)

        def ask(tensors: Tensors) -> Tensors:
            feed = {tensor.name: tensors[tensor.name] for tensor in spec.inputs}
            return dict(zip(outputs, model.run(outputs, feed), strict=True))

        tell("inference")
        answer = ask(rows)
        faults = []
        for tensor in spec.outputs:
            value = answer[tensor.name]
            shape = rows[contract.PRODUCT_ID.name].shape
            if value.shape != shape or value.dtype != np.dtype(tensor.dtype):
                faults.append(f"{tensor.name} comes back as {value.dtype}{value.shape}, not {tensor.dtype}{shape}")
            elif not np.isfinite(value).all():
                faults.append(f"{tensor.name} {not_finite(value, rows)}")
            elif tensor is contract.NOVELTY and not np.isin(value, (0.0, 1.0)).all():
                faults.append(f"{tensor.name} holds more than 0 and 1")
        if faults:
            return {"error": "", "faults": faults, "apart": {}}
        tell("inference in other arrangements")
        return {"error": "", "faults": faults, "apart": invariance.differences(ask, rows)}
    except Exception as error:  # noqa: BLE001 ONNX Runtime's own kinds, all of them about the file
        return {"error": " ".join(str(error).split())[:300], "faults": [], "apart": {}}


def not_finite(value: np.ndarray[Any, Any], rows: Tensors) -> str:
    """Which candidates of ``rows`` aren't finite in ``value`` [B, N], in words."""
    sick = ~np.isfinite(value)
    padding = rows[contract.PRODUCT_ID.name] == contract.PADDING
    if (sick & ~padding).any():
        row, column = np.argwhere(sick & ~padding)[0]
        customer = int(rows[contract.CUSTOMER_ID.name][row, 0])
        product = int(rows[contract.PRODUCT_ID.name][row, column])
        return f"isn't finite for {int(sick.sum())} candidates, such as product {product} for customer {customer}"
    return f"isn't finite for padding ({int(sick.sum())} candidates)"
