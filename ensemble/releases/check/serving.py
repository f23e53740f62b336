"""The candidate's whole ensemble in a real Triton: right answers to odd requests, and to golden ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ensemble import contract
from ensemble.errors import RacksortError
from ensemble.releases.check import invariance, probes
from ensemble.releases.check.asking import Answer, Asked
from ensemble.releases.check.files import MODEL_FILE, process_bytes
from ensemble.releases.check.finding import Faults, Result, Severity
from ensemble.releases.check.isolated import StoppedError, Tell, isolated
from ensemble.releases.check.options import Options
from ensemble.releases.golden import MODEL_OUTPUTS, Golden
from ensemble.releases.layout import Release
from ensemble.tensors import Tensors

_CODE: Final = "look at the ranking step's code and settings"
_SWAPPED: Final = 1.0
"""By how many places rounding may move a product: two neighbours of nearly equal score."""
_RUN_S: Final = 60.0


def check(release: Release, asked: Asked, rows: Tensors, options: Options) -> Result:
    """Unknown ids, exclusions and padding come back as the contract says, and a row's answer is its own.

    Args:
        release: the candidate.
        asked: a Triton that serves it.
        rows: of ``probes.hard``.
        options: the tolerance.
    """
    faults = Faults("serving")
    try:
        answer = asked.explain(rows)
        for what in wrong(rows, answer):
            faults.add(release.name, what, _CODE)
        if faults.found:
            return faults.result("wrong answers")
        apart = invariance.differences(lambda asking: _by_candidate(asked, asking, ("score", "component")), rows)
        moved = invariance.differences(lambda asking: _by_candidate(asked, asking, ("place",)), rows)
    except RacksortError as error:
        remedy = "ask the ensemble yourself to see which step fails"
        faults.add(release.name, str(error), remedy, Severity.UNSERVABLE)
        return faults.result("no answer")
    for name, value in apart.items():
        if not value <= options.tolerance:
            faults.add(release.name, invariance.said(name, value, options.tolerance), invariance.REMEDY)
        elif moved[name] > _SWAPPED:
            faults.add(
                release.name, f"{name}: moves a product by {moved[name]:g} places at equal scores", invariance.REMEDY
            )
    return faults.result(f"up to {max(apart.values()):.1g} apart", {"apart": apart, "places_moved": moved})


def wrong(rows: Tensors, answer: Answer) -> list[str]:
    """What breaks the contract in an answer to ``rows``, in words."""
    asked = rows[contract.PRODUCT_ID.name]
    gone = (asked == contract.PADDING) | (rows[contract.BOOST.name] == contract.EXCLUDED)
    found = []
    for row, ranked in enumerate(answer.product_id):
        real = int((~gone[row]).sum())
        if (ranked[real:] != contract.PADDING).any():
            found.append(f"row {row}: padding and excluded candidates don't come back last as padding")
        elif sorted(ranked[:real].tolist()) != sorted(asked[row][~gone[row]].tolist()):
            found.append(f"row {row}: what comes back isn't an order of the candidates that were asked")
        elif not np.isfinite(answer.score[row, :real]).all():
            found.append(f"row {row}: a score isn't finite")
        elif not np.isfinite(answer.component[row]).all():
            found.append(f"row {row}: a component isn't finite")
        elif (answer.score[row, :real] <= np.finfo(np.float32).min).any():
            found.append(f"row {row}: a candidate can't be ranked, because a model's answer isn't finite")
    return found[:3]


def check_golden(release: Release, golden: Golden, asked: Asked | None, options: Options) -> Result:
    """The recorded requests get the answers that training recorded: of each model, and of the ensemble in Triton."""
    faults = Faults("golden")
    data: dict[str, Any] = {}
    paths = {model.name: release.version_dirs[model.name] / MODEL_FILE for model in contract.ONNX_MODELS}
    try:
        found = isolated(_compare, paths, golden, timeout_s=_RUN_S, most_bytes=process_bytes(release, options))
    except StoppedError as error:
        found = {"error": f"running the models {error}", "apart": {}}
    if found["error"]:
        faults.add(f"{release.name}/1/golden.npz", f"can't be compared: {found['error']}", "see the check 'models'")
    data["apart"] = found["apart"]
    for name, apart in found["apart"].items():
        if not apart <= options.tolerance:
            faults.add(
                name,
                f"is up to {apart:.2g} from what training recorded (at most {options.tolerance:g} is rounding)",
                "the files aren't those that were trained: write the candidate again",
            )
    figure = f"up to {max(found['apart'].values()):.1g} from training's" if found["apart"] else "can't be compared"
    if asked is None:
        return faults.result(figure, data)
    try:
        served = asked.explain(golden.inputs).product_id
    except RacksortError as error:
        faults.add(release.name, str(error), "ask the ensemble yourself to see which step fails")
        return faults.result(figure, data)
    same, swapped = _agreement(served, golden.ranked_product_id)
    data |= {"same_places": same, "swapped_places": swapped}
    if same + swapped < 1.0:
        faults.add(
            release.name,
            f"only {same:.1%} of the recorded places hold the product that training recorded",
            "the ranking step or its settings aren't those of training: write the candidate again",
        )
    return faults.result(f"{figure}, {same:.1%} of places the same", data)


def _by_candidate(asked: Asked, rows: Tensors, wanted: tuple[str, ...]) -> Tensors:
    by_name = asked.explain(rows).by_candidate(rows[contract.PRODUCT_ID.name])
    return {name: by_name[name] for name in wanted}


def _agreement(served: npt.NDArray[np.int64], recorded: npt.NDArray[np.int64]) -> tuple[float, float]:
    """Shares of places that hold the recorded product, and of those that only changed with a neighbour."""
    same = served == recorded
    swap = (served[:, :-1] == recorded[:, 1:]) & (served[:, 1:] == recorded[:, :-1]) & ~same[:, :-1]
    swapped = np.zeros_like(same)
    swapped[:, :-1] |= swap
    swapped[:, 1:] |= swap
    return float(same.mean()), float((swapped & ~same).mean())


def _compare(tell: Tell, paths: dict[str, Path], golden: Golden) -> dict[str, Any]:
    """The largest difference of each output from the recorded one, in a process of its own."""
    from ensemble.onnx_files import session  # noqa: PLC0415

    apart = {spec.name: 0.0 for spec in MODEL_OUTPUTS}
    try:
        for model in contract.ONNX_MODELS:
            tell(model.name)
            running = session(paths[model.name])
            for rows, recorded in ((golden.inputs, golden.outputs), (golden.quiet_inputs(), golden.quiet)):
                answers = running.run(
                    [spec.name for spec in model.outputs], {spec.name: rows[spec.name] for spec in model.inputs}
                )
                for spec, answer in zip(model.outputs, answers, strict=True):
                    difference = np.abs(answer.astype(np.float64) - recorded[spec.name])
                    largest = float(np.nan_to_num(difference, nan=1e30, posinf=1e30).max())
                    apart[spec.name] = max(apart[spec.name], largest)
    except Exception as error:  # noqa: BLE001 ONNX Runtime's own kinds, all of them about the file
        return {"error": " ".join(str(error).split())[:300], "apart": {}}
    return {"error": "", "apart": apart}


def hard_rows(golden: Golden | None) -> Tensors:
    """The odd requests that a candidate is asked."""
    return probes.hard(probes.Known.of(golden))
