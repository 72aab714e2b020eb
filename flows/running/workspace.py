"""Where each stage finds and leaves its files, in the repository and in `avss run --output DIR`."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Workspace:
    """The paths of one run below its root folder."""

    root: Path

    @property
    def settings(self) -> Path:
        """All settings of the run; in the repository the file that a person edits."""
        return self.root / "params.yaml"

    @property
    def prepared(self) -> Path:
        """Rows and text, validated and split."""
        return self.root / "data" / "prepared"

    @property
    def dense(self) -> Path:
        """The model as a plain checkpoint."""
        return self.root / "data" / "dense"

    @property
    def statistics(self) -> Path:
        """Statistics of every layer, by text source."""
        return self.root / "data" / "statistics.json"

    @property
    def activations(self) -> Path:
        """The activation dump: per answer and layer, versioned by DVC."""
        return self.root / "data" / "activations"

    @property
    def scores(self) -> Path:
        """Scores, choices and costs."""
        return self.root / "data" / "scores.json"

    @property
    def pruned(self) -> Path:
        """The pruned checkpoint with its certificate."""
        return self.root / "data" / "pruned"

    @property
    def sizes(self) -> Path:
        """Layers, parameters and bytes of the dense and the pruned model."""
        return self.root / "data" / "sizes.json"

    @property
    def times(self) -> Path:
        """Tokens a second and memory in use on this machine; no output that DVC compares."""
        return self.root / "data" / "speed.json"

    @property
    def pictures(self) -> Path:
        """Pictures of these times, one a checkpoint; no output that DVC compares either."""
        return self.root / "data" / "times"

    @property
    def evaluation(self) -> Path:
        """Figures and answers of the dense and the pruned model."""
        return self.root / "data" / "evaluation"

    @property
    def healed(self) -> Path:
        """The pruned checkpoint after healing, with its certificate; empty where nothing was healed."""
        return self.root / "data" / "healed"

    @property
    def healing(self) -> Path:
        """Training record, figures and answers of the healed model."""
        return self.root / "data" / "healing"

    @property
    def training(self) -> Path:
        """Checkpoints of trainings that were stopped; no output that DVC compares."""
        return self.root / "data" / "training"

    @property
    def localization(self) -> Path:
        """EAVSS of every layer."""
        return self.root / "data" / "localization.json"

    @property
    def mitigated(self) -> Path:
        """The checkpoint with trained layers, and its certificate."""
        return self.root / "data" / "mitigated"

    @property
    def mitigation(self) -> Path:
        """History, figures and answers of the mitigated model."""
        return self.root / "data" / "mitigation"

    @property
    def controls(self) -> Path:
        """The controls' checkpoints, each while it is measured."""
        return self.root / "data" / "controls"

    @property
    def gates(self) -> Path:
        """What the last word on the run was."""
        return self.root / "data" / "gates.json"

    @property
    def reports(self) -> Path:
        """What a person reads."""
        return self.root / "reports"
