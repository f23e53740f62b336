"""What training learns: the nets' weights and the blend, apart from any week's tables."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from ensemble.errors import RacksortError
from ensemble.models.category_affinity import AffinityNet
from ensemble.models.collaborative_filter import PreferenceNet
from ensemble.models.product_pool import DemandNet
from ensemble.npz import UNREADABLE
from ensemble.ranking import RankingSettings
from ensemble.training.snapshot import MEANING

_NETS: Final[dict[str, Any]] = {"affinity": AffinityNet, "demand": DemandNet, "preference": PreferenceNet}


@dataclass(frozen=True, slots=True)
class Trained:
    """Weights that any week's tables can be put around.

    Attributes:
        affinity: category affinity's net.
        demand: product pool's net.
        preference: collaborative filter's net.
        settings: the ranking's, with the blend that was fitted on the validation weeks.
        summary: losses, validation metrics and times, for people; JSON-ready.
    """

    affinity: AffinityNet
    demand: DemandNet
    preference: PreferenceNet
    settings: RankingSettings
    summary: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Set weights below the smallest normal number to 0.

        The penalty of embeddings shrinks those of categories that nobody buys for ever, into numbers that a CPU needs
        up to a hundred times as long for: they were two thirds of the collaborative filter's time.
        """
        for net in (self.affinity, self.demand, self.preference):
            for weight in net.parameters():
                weight.data[weight.data.abs() < torch.finfo(weight.dtype).tiny] = 0.0

    @property
    def categories(self) -> int:
        """Category ids are 0..categories - 1."""
        return self.affinity.bias.shape[0]

    def save(self, path: Path) -> None:
        """Write the weights to one ``.npz`` file, for later ``build_release`` without training."""
        path.parent.mkdir(parents=True, exist_ok=True)
        arrays = {
            f"{net}.{name}": value.numpy() for net in _NETS for name, value in getattr(self, net).state_dict().items()
        }
        facts = {
            "categories": self.categories,
            "features": MEANING,
            "settings": asdict(self.settings),
            "summary": self.summary,
        }
        with path.open("wb") as file:
            np.savez_compressed(file, facts=np.array(json.dumps(facts)), **arrays)

    @classmethod
    def load(cls, path: Path) -> Trained:
        """Read what ``save`` wrote.

        Raises:
            RacksortError: there is no such file, it isn't one of ours, or its nets were trained on other features.
        """
        try:
            with np.load(path, allow_pickle=False) as held:
                facts = dict(json.loads(str(held["facts"])))
                if facts.get("features") != MEANING:
                    raise RacksortError(
                        f"{path}: trained on features that meant something else: run `racksort train` again"
                    )
                nets = {}
                for name, kind in _NETS.items():
                    nets[name] = kind(facts["categories"]).eval()
                    state = nets[name].state_dict()
                    nets[name].load_state_dict({key: torch.from_numpy(held[f"{name}.{key}"]) for key in state})
            return cls(settings=RankingSettings(**facts["settings"]), summary=facts["summary"], **nets)
        except FileNotFoundError:
            raise RacksortError(f"{path}: no such file: run `racksort train` first") from None
        except (*UNREADABLE, TypeError) as error:
            raise RacksortError(f"{path}: not weights of this version ({error}): run `racksort train` again") from error
