"""Where each stage finds and leaves its files, in the repository and in `avss run --output DIR`."""

from dataclasses import dataclass
from pathlib import Path


class _At:
    """A path below the root of a workspace."""

    def __init__(self, place: str) -> None:
        self.place = place

    def __get__(self, workspace: "Workspace", _owner: type) -> Path:
        return workspace.root / self.place


@dataclass(frozen=True)
class Workspace:
    """The paths of one run below its root folder."""

    root: Path

    settings = _At("params.yaml")
    """All settings of the run; in the repository the file that a person edits."""
    prepared = _At("data/prepared")
    """Rows and text, validated and split."""
    dense = _At("data/dense")
    """The model as a plain checkpoint."""
    statistics = _At("data/statistics.json")
    """Statistics of every layer, by text source."""
    activations = _At("data/activations")
    """The activation dump: per answer and layer, versioned by DVC."""
    scores = _At("data/scores.json")
    """Scores, choices and costs."""
    pruned = _At("data/pruned")
    """The pruned checkpoint with its certificate."""
    repaired = _At("data/repaired")
    """The pruned checkpoint with refitted projections, and its certificate; empty if nothing was repaired."""
    repair = _At("data/repair.json")
    """What was refitted, and how well it fits."""
    sizes = _At("data/sizes.json")
    """Layers, parameters and bytes of the dense and the pruned model."""
    times = _At("data/speed.json")
    """Tokens a second and memory in use on this machine; DVC does not compare it."""
    pictures = _At("data/times")
    """Pictures of these times, one a checkpoint; DVC does not compare them."""
    evaluation = _At("data/evaluation")
    """Figures and answers of the dense, the pruned and the repaired model."""
    healed = _At("data/healed")
    """The repaired checkpoint after healing, with its certificate; empty if nothing was healed."""
    healing = _At("data/healing")
    """Training record, figures and answers of the healed model."""
    training = _At("data/training")
    """Checkpoints of trainings that were stopped; DVC does not compare them."""
    localization = _At("data/localization.json")
    """EAVSS of every layer."""
    mitigated = _At("data/mitigated")
    """The checkpoint with trained layers, and its certificate."""
    mitigation = _At("data/mitigation")
    """History, figures and answers of the mitigated model."""
    controls = _At("data/controls")
    """The controls' checkpoints, each while it is measured."""
    gates = _At("data/gates.json")
    """Whether the run kept enough."""
    reports = _At("reports")
    """The page and its tables and figures."""
