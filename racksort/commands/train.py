"""``racksort train``: train the three models and write a release."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def command(
    repository: Annotated[Path, typer.Option(help="Model repository to write to.")] = Path("model_repository"),
    release: Annotated[int, typer.Option(min=1, help="Number of the release.")] = 1,
    week: Annotated[int, typer.Option(min=2, help="The release's tables are as of the start of this week.")] = 47,
    sample: Annotated[float, typer.Option(min=0.001, max=1.0, help="Share of the customers to train on.")] = 1.0,
    weights: Annotated[
        Path | None, typer.Option(help="Don't train: put these weights (weights.npz) into a release of --week.")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Cores to use.")] = 2,
    seed: Annotated[int, typer.Option(help="Seed of everything that is drawn.")] = 1,
) -> None:
    """Train category affinity, product pool and collaborative filter, and write a release that Triton can serve.

    Weights are trained on weeks up to 40, the blend on weeks 41-46; the tables hold everything before --week. The
    exported files are compared with torch on real rows before the command succeeds.

    Examples:
        racksort train

        racksort train --sample 0.1 --repository var/sample

        racksort train --weights model_repository/personalize_v1/1/weights.npz --week 48 --repository var/week-48
    """
    # A verb's imports wait until it runs: torch takes seconds.
    from ensemble import configs, contract  # noqa: PLC0415
    from ensemble.data.dataset import load  # noqa: PLC0415
    from ensemble.data.weeks import week_start  # noqa: PLC0415
    from ensemble.release import build_release, weights_path  # noqa: PLC0415
    from ensemble.training.train import Plan, sample_customers, train  # noqa: PLC0415
    from ensemble.training.weights import Trained  # noqa: PLC0415
    from racksort.progress import progress_bars  # noqa: PLC0415

    with progress_bars() as report:
        known = Trained.load(weights) if weights else None
        data = load(progress=lambda _stage, fraction: report("data", fraction))
        trained = known or train(data, Plan.of(sample, threads, seed), report)
        served = sample_customers(data, sample, seed)
        worst = build_release(served, week, trained, repository, release, report)
        versions = {model.name: release for model in contract.MODELS}
        configs.write(repository, configs.generate(release, versions, week_start(week)))
    summary = trained.summary | {"week": week, "parity": worst}
    path = weights_path(repository, release).with_name("training.json")
    path.write_text(json.dumps(summary, indent=2) + "\n")
    for name, metrics in trained.summary["validation"]["quality"].items():
        typer.echo(f"{name:20} NDCG@10 {metrics['ndcg@10']:.4f}  recall@10 {metrics['recall@10']:.4f}")
    typer.echo(f"release {release} as of week {week} is in {repository}; its summary is {path}")
