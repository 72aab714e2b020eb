"""All parameters together: what must hold between sections, and the dotted names."""

from typing import Any

from pydantic import ValidationInfo, field_validator

from avss_core.registry import SCORE_SITES
from avss_core.settings.fields import AUTO, Natural, Section
from avss_core.settings.input_sections import Data, Execution, Model
from avss_core.settings.sections import (
    Collect,
    Evaluate,
    Gates,
    Heal,
    Localize,
    Mitigate,
    Prune,
    Repair,
    ScoreSection,
    Speed,
)

UNTRACKED = ("execution",)
"""Sections that change no number of a run: DVC does not track them, no cache key holds them, and runs that
differ in nothing else are one experiment."""

MOST_CHARACTERS = 6
"""Most characters a token of English text or code, on average over a text."""


class Params(Section):
    """All parameters, one section a stage."""

    seed: Natural = 0
    model: Model = Model()
    data: Data = Data()
    execution: Execution = Execution()
    collect: Collect = Collect()
    score: ScoreSection = ScoreSection()
    prune: Prune = Prune()
    repair: Repair = Repair()
    speed: Speed = Speed()
    evaluate: Evaluate = Evaluate()
    heal: Heal = Heal()
    localize: Localize = Localize()
    mitigate: Mitigate = Mitigate()
    gates: Gates = Gates()

    @field_validator("score")
    @classmethod
    def _collected(cls, value: ScoreSection, info: ValidationInfo) -> ScoreSection:
        collect = info.data.get("collect")
        if collect is None:
            return value
        if not value.measured:
            raise ValueError("the cheapest of no score is asked for: name scores in score.compare")
        if collect.batch_size == AUTO and "avss_authors" in value.measured:
            raise ValueError(
                f"the score avss_authors depends on the batch: give collect.batch_size a number, not {AUTO}, "
                "or leave the score out of score.compare"
            )
        for name in value.measured:
            site = SCORE_SITES[name]
            if site is not None and site not in collect.sites:
                raise ValueError(f"the score {name} needs the site {site!r} in collect.sites")
        return value

    @field_validator("evaluate", "heal")
    @classmethod
    def _enough_text(cls, value: Evaluate | Heal, info: ValidationInfo) -> Evaluate | Heal:
        data, collect, score = (info.data.get(section) for section in ("data", "collect", "score"))
        if data is None or collect is None or score is None or not data.streamed:
            return value
        scored = collect.tokens + score.cost_tokens
        if isinstance(value, Heal):
            repair = info.data.get("repair")
            fitted = max(0, repair.text_tokens - collect.tokens) if repair else 0
            held = value.text_of(value.validation_tokens) if fitted or value.text_tokens else 0
            learnt = max(fitted + held, value.text_tokens)
            tokens = scored + learnt if learnt else 0
        else:
            tokens = max(scored, value.tokens + value.window)
        if data.characters < MOST_CHARACTERS * tokens:
            raise ValueError(
                f"{tokens} tokens of text are asked for, and data.characters is {data.characters}: "
                f"raise it to {MOST_CHARACTERS * tokens}"
            )
        return value

    @field_validator("mitigate")
    @classmethod
    def _made(cls, value: Mitigate, info: ValidationInfo) -> Mitigate:
        stage = {"repaired": "repair", "healed": "heal"}.get(value.base, "")
        maker = info.data.get(stage)
        if maker is not None and not maker.enabled:
            raise ValueError(
                f"the base is the {value.base} model, and {stage}.enabled is false: set it to true"
            )
        return value

    @property
    def machine(self) -> dict[str, Any]:
        """Precision and device of a model, as arguments of a task; the best device if none is named."""
        # With torch, which a check of settings does without.
        from avss_core.models.placement import chosen_device

        return {"dtype": self.model.dtype, "device": chosen_device(self.model.device)}

    @property
    def spread(self) -> bool:
        """Whether a model is spread over devices: its weights then move during a pass."""
        return self.model.device == "spread"

    def flat(self) -> dict[str, Any]:
        """Return every value by its dotted name."""
        values = self.model_dump(mode="json")
        return {
            **{"seed": values.pop("seed")},
            **{f"{section}.{key}": value for section, part in values.items() for key, value in part.items()},
        }

    def decisive(self) -> dict[str, Any]:
        """Return by dotted name the values that can change a number."""
        return {key: value for key, value in self.flat().items() if key.partition(".")[0] not in UNTRACKED}


def known_keys() -> list[str]:
    """Return the dotted names of all parameters and of the sections."""
    keys = []
    for name, field in Params.model_fields.items():
        keys.append(name)
        part = field.annotation
        if isinstance(part, type) and issubclass(part, Section):
            keys += [f"{name}.{key}" for key in part.model_fields]
    return keys
