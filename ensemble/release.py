"""A release's files: the same trained weights with the tables of any week around them."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from ensemble import contract
from ensemble.assembly import assemble
from ensemble.data.dataset import Dataset, Progress, silent
from ensemble.export import check_parity, write_model
from ensemble.ranking import RankingSettings, rank
from ensemble.releases.golden import GOLDEN, Golden, without_events
from ensemble.table_files import INSIDE, TableFile
from ensemble.tensors import Tensors
from ensemble.training.snapshot import take_snapshot
from ensemble.training.weights import Trained


def build_release(
    data: Dataset,
    week: int,
    trained: Trained,
    out_dir: Path,
    version: int = 1,
    progress: Progress = silent,
    inside: int = INSIDE,
) -> dict[str, float]:
    """Write version folders of the three models and the ranking, with tables as of the start of ``week``.

    Purchases of ``week`` and later are never looked at. Each file is compared with torch on real rows, and these rows
    are recorded with torch's answers, so that the files can be compared again wherever they get.

    Args:
        data: the dataset, cut or whole.
        week: the release answers for this week.
        trained: what ``train`` returned.
        out_dir: the model repository; created where missing.
        version: number of the version folders.
        progress: told the stage and the fraction done.
        inside: bytes of tables that a model's ONNX file may hold; with more, tables lie in files beside it.

    Returns:
        The largest difference between torch and ONNX Runtime for each model.

    Raises:
        RacksortError: no purchases before the week, or an export that differs from torch.
    """
    progress("tables", 0.0)
    snapshot = take_snapshot(data, week)
    rows = sample_rows(snapshot.customer_id, snapshot.product_id, snapshot.product_category, snapshot.cutoff)
    return write_release(assemble(snapshot, trained), trained, rows, out_dir, version, progress, inside)


def write_release(
    models: dict[str, nn.Module],
    trained: Trained,
    rows: Tensors,
    out_dir: Path,
    version: int,
    progress: Progress = silent,
    inside: int = INSIDE,
    stored: dict[str, list[TableFile]] | None = None,
) -> dict[str, float]:
    """Write version folders of served models and the ranking, and what belongs to the release as a whole.

    Args:
        models: the three modules by name.
        trained: whose nets they have.
        rows: what they are compared on, and what is recorded.
        out_dir: the model repository; created where missing.
        version: number of the version folders.
        progress: told the stage and the fraction done.
        inside: see ``write_model``.
        stored: tables that lie in the version folders already, by model.

    Returns:
        The largest difference between torch and ONNX Runtime for each model.

    Raises:
        RacksortError: an export that differs from torch.
    """
    worst = {}
    for i, spec in enumerate(contract.ONNX_MODELS):
        progress("export", i / len(contract.ONNX_MODELS))
        folder = out_dir / spec.name / str(version)
        path = write_model(models[spec.name], spec, folder, inside, (stored or {}).get(spec.name, ()))
        worst[spec.name] = check_parity(models[spec.name], path, spec, rows)
    _write_ranking(out_dir / contract.RANKING.name / str(version), trained)
    trained.save(weights_path(out_dir, version))
    record(models, trained.settings, rows).save(weights_path(out_dir, version).with_name(GOLDEN))
    progress("export", 1.0)
    return worst


def weights_path(repository: Path, release: int) -> Path:
    """Where a release keeps its weights, so that its tables can be made anew without training."""
    return repository / contract.ensemble_name(release) / "1" / "weights.npz"


def sample_rows(
    customer_id: npt.NDArray[np.int64],
    product_id: npt.NDArray[np.int64],
    product_category: npt.NDArray[np.int32],
    cutoff: float,
    rows: int = 16,
    candidates: int = 128,
    seed: int = 0,
) -> Tensors:
    """Rows of known customers and products, with recent events, padding and unknown ids among them.

    Args:
        customer_id: known customers [U].
        product_id: known products [P].
        product_category: leaf category of each [P].
        cutoff: where the tables end, days since 1970-01-01 UTC.
        rows: how many.
        candidates: in each.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    customer = rng.choice(customer_id, rows)
    customer[:2] = (contract.ANONYMOUS, -7)
    at = rng.integers(0, product_id.size, (rows, candidates))
    product, category = product_id[at], product_category[at]
    product[:, -8:], category[:, -8:] = contract.PADDING, 0
    product[:, :2], category[:, 1] = (2**40 + 5, -1), 2**31 - 1
    offer = np.stack(
        (rng.uniform(0.5, 1, at.shape), rng.random(at.shape), rng.random(at.shape), rng.integers(0, 2, at.shape)), 2
    )
    recent = product[:, rng.integers(2, candidates // 2, contract.RECENT)]
    age = np.sort(rng.uniform(0, 5, recent.shape), 1)
    recent[1::3], age[1::3] = contract.PADDING, 0
    recent[:, -4:], age[:, -4:] = contract.PADDING, 0
    context = np.stack((np.full(rows, cutoff + 5), np.full(rows, 24)), 1)
    values = {
        contract.CUSTOMER_ID: customer[:, None],
        contract.PRODUCT_ID: product,
        contract.CATEGORY_ID: category,
        contract.OFFERS: offer,
        contract.RECENT_PRODUCT_ID: recent,
        contract.RECENT_AGE: age,
        contract.CONTEXTS: context,
    }
    return {tensor.name: np.ascontiguousarray(value, tensor.dtype) for tensor, value in values.items()}


def record(models: dict[str, nn.Module], settings: RankingSettings, rows: Tensors, seed: int = 0) -> Golden:
    """What the modules in torch and the ranking answer to ``rows``, some of whose candidates get a boost here."""
    rng = np.random.default_rng(seed)
    shape = rows[contract.PRODUCT_ID.name].shape
    boost = np.where(rng.random(shape) < 0.1, rng.uniform(-1, 1, shape), 0.0).astype(np.float32)
    boost[rng.random(shape) < 0.03] = contract.EXCLUDED
    inputs = {**rows, contract.BOOST.name: boost}
    outputs, quiet = _said(models, inputs), _said(models, without_events(inputs))
    made = inputs | outputs
    ranked = rank(**{spec.name: made[spec.name] for spec in contract.RANKING.inputs}, settings=settings, explain=False)
    return Golden(inputs, outputs, quiet, ranked.product_id)


def _said(models: dict[str, nn.Module], rows: Tensors) -> dict[str, npt.NDArray[np.float32]]:
    """Outputs of the three modules by name, each [B, N]."""
    said: dict[str, npt.NDArray[np.float32]] = {}
    for spec in contract.ONNX_MODELS:
        with torch.no_grad():
            answer = models[spec.name](*(torch.from_numpy(rows[tensor.name]) for tensor in spec.inputs))
        answers = answer if isinstance(answer, tuple) else (answer,)
        said |= {tensor.name: part.numpy() for tensor, part in zip(spec.outputs, answers, strict=True)}
    return said


def _write_ranking(folder: Path, trained: Trained) -> None:
    """The ranking's version: Triton's shim, the pure module and the settings."""
    folder.mkdir(parents=True, exist_ok=True)
    here = Path(__file__).parent
    shutil.copyfile(here / "ranking_model.py", folder / "model.py")
    shutil.copyfile(here / "ranking.py", folder / "ranking.py")
    (folder / "settings.json").write_text(json.dumps(asdict(trained.settings), indent=2) + "\n")
