"""The one schema of all parameters: strict, checked whole before anything is loaded."""

import difflib
import importlib.util
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from avss_core.judges.judges import JUDGES
from avss_core.registry import CONTROL_NAMES, READING_NAMES, SCORE_SITES
from tasks.data.pile import SUBSETS
from tasks.history.masking import masked

HUB_TEXTS = ("wikitext2", *SUBSETS)
"""The texts that the Hub has, by our names."""

UNTRACKED = ("execution",)
"""Sections that say how a run is carried out and change no number of it: DVC does not track them, no cache
key holds them, and two runs that differ in nothing else are one experiment."""

MOST_CHARACTERS = 6
"""Characters that a token of English text or code has at most, on the average of a text."""


def _distinct(values: list[Any]) -> list[Any]:
    """Return the values, or raise where one is named twice: it would count twice."""
    for value in values:
        if values.count(value) > 1:
            raise ValueError(f"{value} is named twice")
    return values


def _folder_name(value: str) -> str:
    """Return the name of a set, which names its folder and nothing else."""
    if value in {"", ".", ".."} or "/" in value or "\\" in value or not value.isprintable():
        raise ValueError(f"{value!r} is not the name of a folder: give one without slashes")
    return value


def _below(value: str | None) -> str | None:
    """Return a name of what lies in the data folder."""
    if value is not None and (value.startswith("/") or ".." in Path(value).parts):
        raise ValueError("it lies in the data folder: give a name without .. or leading /")
    return value


def _git_name(value: str | None) -> str | None:
    """Return a commit, tag or branch; it names a file of the Hub's cache."""
    if value is not None and (value.startswith("/") or ".." in value):
        raise ValueError("a commit, tag or branch has no .. and no leading /")
    return value


Share = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
Natural = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]
Site = Literal["output", "update", "attention", "mlp", "mlp_act"]
Distinct = AfterValidator(_distinct)


def _known(value: str, names: Any, what: str) -> str:
    """Return a registered name, or raise with near matches."""
    if value not in names:
        near = difflib.get_close_matches(value, names, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ValueError(f"unknown {what} {value!r}: {hint}known: {', '.join(names)}")
    return value


def _offered(value: str | None, source: str | None, public: Any, what: str) -> str | None:
    """Return a name that its source may have, or raise."""
    if value is not None and source == "sample":
        raise ValueError(f"the sample has one {what}: leave it null, or set data.source to path or hub")
    return _known(value, public, f"{what} of the Hub") if value is not None and source == "hub" else value


JudgeName = Annotated[str, AfterValidator(lambda value: _known(value, ["default", *JUDGES], "judge"))]


class Section(BaseModel):
    """A frozen part of the parameters that knows all its keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @field_validator("*")
    @classmethod
    def _no_secret(cls, value: Any) -> Any:
        texts = value if isinstance(value, list) else [value]
        if any(masked(text) != text for text in texts if isinstance(text, str)):
            raise ValueError(
                "holds a password or a token, and settings are written into files and histories: leave it "
                "to the environment (such as HF_TOKEN, MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD)"
            )
        return value


class Model(Section):
    """Which model is studied."""

    name: Annotated[str, Field(min_length=1)]
    revision: Annotated[str | None, AfterValidator(_git_name)]
    dtype: Literal["float32", "bfloat16", "float16"]
    device: str


class Data(Section):
    """Where rows and text come from, and how they are split."""

    source: Literal["sample", "path", "hub"]
    path: Annotated[str, Field(min_length=1)]
    text: Annotated[Annotated[str, Field(min_length=1)] | None, AfterValidator(_below)]
    sentiment: Annotated[Annotated[str, Field(min_length=1)] | None, AfterValidator(_below)]
    characters: Count
    sets: Annotated[list[Annotated[str, AfterValidator(_folder_name)]], Field(min_length=1), Distinct]
    validation: Share
    calibration: Share

    @field_validator("text")
    @classmethod
    def _text(cls, value: str | None, info: Any) -> str | None:
        return _offered(value, info.data.get("source"), HUB_TEXTS, "text")

    @field_validator("sentiment")
    @classmethod
    def _sentiment(cls, value: str | None, info: Any) -> str | None:
        return _offered(value, info.data.get("source"), ("sst2",), "sentiment set")

    @property
    def streamed(self) -> bool:
        """Return whether the text is streamed, of which there is as much as is asked for."""
        return self.source == "hub" and self.text in SUBSETS


class Execution(Section):
    """Where units of work run, which changes no number: see `UNTRACKED`."""

    engine: Literal["threads", "dask", "ray"]
    workers: Count
    address: Annotated[str, Field(min_length=1)] | None

    @field_validator("engine")
    @classmethod
    def _installed(cls, value: str) -> str:
        if value != "threads" and importlib.util.find_spec(f"prefect_{value}") is None:
            raise ValueError(
                f"the engine {value} is not installed; pip install -c constraints.txt -e '.[{value}]'"
            )
        return value

    @field_validator("address")
    @classmethod
    def _of_a_cluster(cls, value: str | None, info: Any) -> str | None:
        if value is not None and info.data.get("engine") == "threads":
            raise ValueError("threads have no address: leave it null, or set execution.engine to dask or ray")
        return value


class Collect(Section):
    """What is measured of the activations."""

    tokens: Annotated[int, Field(ge=2)]
    set_tokens: Annotated[int, Field(ge=2)]
    window: Annotated[int, Field(ge=2)]
    batch_size: Count
    parts: Count
    skip_first: bool
    sites: Annotated[list[Site], Field(min_length=1), Distinct]
    threshold: Positive
    relative_threshold: Positive
    answers: Annotated[int, Field(ge=2)]
    answers_from: Literal["supplied", "generated", "both"]
    samples: Count
    temperature: Positive
    judge: JudgeName
    dump_site: Site


class ScoreSection(Section):
    """Which score prunes, and which are shown beside it."""

    name: str
    compare: list[str]
    random_draws: Count
    cost_tokens: Annotated[int, Field(ge=2)]
    traversal_tokens: Annotated[int, Field(ge=2)]
    traversal_window: Count
    traversal_context: Natural
    resamples: Count

    @field_validator("name")
    @classmethod
    def _name(cls, value: str) -> str:
        return _known(value, SCORE_SITES, "score")

    @field_validator("compare")
    @classmethod
    def _compare(cls, value: list[str]) -> list[str]:
        return [_known(name, SCORE_SITES, "score") for name in value]


class Prune(Section):
    """How many layers go, or which."""

    ratio: Share
    layers: Annotated[list[Natural], Field(min_length=1), Distinct] | None
    protect_first: Natural
    protect_last: Natural


class Speed(Section):
    """What is timed of the dense and the pruned model."""

    enabled: bool
    prompt_tokens: Count
    new_tokens: Count
    batch_sizes: Annotated[list[Count], Field(min_length=1), Distinct]
    rounds: Count


class Evaluate(Section):
    """How models are compared."""

    shots: Natural
    limit: Count | None
    shard: Count
    chat: bool
    max_new_tokens: Count
    batch_size: Count
    scored_answers: Natural
    layer_questions: Natural
    layer_step: Count
    judge: JudgeName
    tokens: Annotated[int, Field(ge=2)]
    window: Annotated[int, Field(ge=2)]
    stride: Count | None
    sentiment_shots: Natural

    @field_validator("stride")
    @classmethod
    def _stride(cls, value: int | None, info: Any) -> int | None:
        window = info.data.get("window")
        if value is not None and window is not None and value > window:
            raise ValueError(f"a stride beyond the window of {window} tokens would leave text out")
        return value


class Heal(Section):
    """How the pruned model learns from the dense one."""

    enabled: bool
    tokens: Annotated[int, Field(ge=2)]
    validation_tokens: Annotated[int, Field(ge=2)]
    window: Annotated[int, Field(ge=2)]
    batch_size: Count
    accumulate: Count
    text: Weight
    questions: Weight
    reviews: Weight
    epochs: Count
    learning_rate: Positive
    rank: Count
    layers: Annotated[list[Natural], Field(min_length=1), Distinct] | None
    temperature: Positive
    hidden: Weight
    top_k: Count | None
    validate_every: Count
    patience: Count
    autocast: bool

    @field_validator("reviews")
    @classmethod
    def _some_share(cls, value: float, info: Any) -> float:
        if not value and not info.data.get("text", 1) and not info.data.get("questions", 1):
            raise ValueError("the shares text, questions and reviews are all 0: raise one of them")
        return value

    @property
    def text_tokens(self) -> int:
        """Return how much text is asked for."""
        share = self.text / (self.text + self.questions + self.reviews)
        return round((self.tokens + self.validation_tokens) * share) if self.enabled else 0


class Localize(Section):
    """How hallucination-prone layers are found."""

    reading: str
    resamples: Count

    @field_validator("reading")
    @classmethod
    def _reading(cls, value: str) -> str:
        return _known(value, READING_NAMES, "EAVSS reading")


class Mitigate(Section):
    """How the prone layers are trained."""

    base: Literal["dense", "pruned", "healed"]
    layers: Count
    pairs: Count
    epochs: Count
    learning_rate: Positive
    batch_size: Annotated[int, Field(ge=2)]
    accumulate: Count
    rank: Count
    cross_entropy: Weight
    alpha: Weight
    beta: Positive
    gamma: Weight
    temperature: Positive
    validate_every: Count | None
    patience: Count
    autocast: bool
    controls: Annotated[list[str], Distinct]
    random_draws: Count

    @field_validator("gamma")
    @classmethod
    def _some_term(cls, value: float, info: Any) -> float:
        if not value and not info.data.get("cross_entropy", 1) and not info.data.get("alpha", 1):
            raise ValueError("the weights cross_entropy, alpha and gamma are all 0: raise one of them")
        return value

    @field_validator("controls")
    @classmethod
    def _controls(cls, value: list[str]) -> list[str]:
        return [_known(name, CONTROL_NAMES, "control") for name in value]


class Gates(Section):
    """What fails a run."""

    min_retention: Share | None


class Params(Section):
    """All parameters, one section a stage."""

    seed: Natural
    model: Model
    data: Data
    execution: Execution
    collect: Collect
    score: ScoreSection
    prune: Prune
    speed: Speed
    evaluate: Evaluate
    heal: Heal
    localize: Localize
    mitigate: Mitigate
    gates: Gates

    @field_validator("score")
    @classmethod
    def _collected(cls, value: ScoreSection, info: Any) -> ScoreSection:
        collect = info.data.get("collect")
        if collect is None:
            return value
        for name in (value.name, *value.compare):
            site = SCORE_SITES[name]
            if site is not None and site not in collect.sites:
                raise ValueError(f"the score {name} needs the site {site!r} in collect.sites")
        return value

    @field_validator("evaluate", "heal")
    @classmethod
    def _enough_text(cls, value: Any, info: Any) -> Any:
        data, collect, score = (info.data.get(section) for section in ("data", "collect", "score"))
        if data is None or collect is None or score is None or not data.streamed:
            return value
        scored = collect.tokens + score.cost_tokens
        if isinstance(value, Heal):
            tokens = scored + value.text_tokens if value.text_tokens else 0
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
    def _healed(cls, value: Mitigate, info: Any) -> Mitigate:
        heal = info.data.get("heal")
        if value.base == "healed" and heal is not None and not heal.enabled:
            raise ValueError("the base is the healed model, and heal.enabled is false: set it to true")
        return value

    @property
    def machine(self) -> dict[str, Any]:
        """Return where and in which precision a model runs, as tasks take it."""
        return {"dtype": self.model.dtype, "device": self.model.device}

    def flat(self) -> dict[str, Any]:
        """Return every parameter by its dotted name."""
        values = self.model_dump(mode="json")
        return {
            **{"seed": values.pop("seed")},
            **{f"{section}.{key}": value for section, part in values.items() for key, value in part.items()},
        }

    def decisive(self) -> dict[str, Any]:
        """Return by its dotted name every parameter that can change a number."""
        return {key: value for key, value in self.flat().items() if key.partition(".")[0] not in UNTRACKED}


def load_params(
    path: Path, overrides: list[str] | None = None, options: Mapping[str, Any] | None = None
) -> Params:
    """Return the checked parameters of a YAML file.

    The file is read as YAML 1.2, as DVC does, so that 1e-5 is a number for both.

    Args:
        path: the file, usually params.yaml.
        overrides: "section.key=value" with the value as YAML, as `--set` gives them; they have the last word.
        options: values by dotted name that take the place of the file's.

    Raises:
        FileNotFoundError: the file is not there.
        ValueError: one line for each problem, with near matches for unknown keys. The file is named for what
            stands in the file alone.
    """
    values = _read(path)
    in_file = [_problem(error) for error in _errors(values)]
    for key, value in (options or {}).items():
        _put(values, key, value)
    replaced: dict[str, Any] = {}
    lines = [line for text in overrides or [] if (line := _override(values, text, replaced))]
    errors, left = _errors(values), []
    for error in errors:
        where, line = _where(error), _problem(error)
        if any(f"{where}.".startswith(f"{key}.") for key in replaced):
            lines.append(f"--set {_problem(error, by_set=True)}")
        elif line in in_file:
            left.append(f"  {line}")
        else:  # an option of the command, or settings that do not go together
            lines.append(line)
    if not errors:
        lines += _unread(values["data"], replaced)
    if left:
        lines += [f"{path}: {len(left)} problem(s)", *left]
    if lines:
        raise ValueError(masked("\n".join(lines)))
    return Params.model_validate(values)


def params_text(params: Params) -> str:
    """Return every parameter as YAML, from which `load_params` makes the same ones."""
    text = StringIO()
    YAML(typ="safe", pure=True).dump(params.model_dump(mode="json"), text)
    return text.getvalue()


def _read(path: Path) -> dict[str, Any]:
    """Return the sections of a YAML file."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there; run in the repository or name a file with --params")
    try:
        values = YAML(typ="safe", pure=True).load(path)
    except YAMLError as error:
        raise ValueError(masked(f"{path} is not valid YAML: {error}")) from None
    if not isinstance(values, dict):
        raise ValueError(f"{path} holds no sections; expected {', '.join(Params.model_fields)}")
    return values


def _errors(values: dict[str, Any]) -> list[ErrorDetails]:
    """Return all that is wrong with parameters."""
    try:
        Params.model_validate(values)
    except ValidationError as error:
        return error.errors()
    return []


def _put(values: dict[str, Any], key: str, value: Any) -> Any:
    """Set one dotted key in place, and return what stood there."""
    section, _, last = key.rpartition(".")
    part = values.setdefault(section, {}) if section else values
    if not isinstance(part, dict):
        return None  # told as what is wrong with the section
    before = part.get(last)
    part[last] = value
    return before


def _override(values: dict[str, Any], text: str, replaced: dict[str, Any]) -> str | None:
    """Set one dotted key and note what it replaces; return what is wrong with the text, if anything."""
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals or not key:
        return f"--set {text}: expected section.key=value"
    if key not in known_keys():
        return f"--set {_unknown(key)}"
    try:
        before = _put(values, key, YAML(typ="safe", pure=True).load(value))
    except YAMLError:
        return f"--set {text}: {value!r} is not valid YAML"
    replaced.setdefault(key, before)
    return None


def _unread(data: dict[str, Any], replaced: dict[str, Any]) -> list[str]:
    """Return what is wrong where a folder is named by `--set` and another source is read."""
    folder, source = data["path"], data["source"]
    if source == "path" or replaced.get("data.path", folder) == folder:
        return []
    return [f"--set data.path={folder} is not read while data.source is {source}; add --set data.source=path"]


def _where(error: ErrorDetails) -> str:
    """Return the dotted name of what is wrong."""
    return ".".join(str(part) for part in error["loc"])


def _unknown(key: str) -> str:
    """Return one line for a key that there is not."""
    near = difflib.get_close_matches(key, known_keys(), n=1, cutoff=0.5)
    return f"{key}: unknown key" + (f"; did you mean {near[0]}?" if near else "")


def _problem(error: ErrorDetails, *, by_set: bool = False) -> str:
    """Return one line for one validation error, with how to write it by `--set` or in a file."""
    where, value = _where(error), error["input"]
    if error["type"] == "extra_forbidden":
        return _unknown(where)
    if error["type"] == "missing":
        return f"{where}: missing; give it a value as in the params.yaml of the repository"
    reason = error["msg"].removeprefix("Value error, ")
    line = f"{where}: {reason}" + ("" if isinstance(value, dict) else f" (got {value!r})")
    if error["type"] == "list_type" and isinstance(value, str | int | float):
        line += f"; write --set '{where}=[{value}]'" if by_set else f"; write [{value}]"
    return line


def known_keys() -> list[str]:
    """Return the dotted names of all parameters, sections included."""
    keys = []
    for name, field in Params.model_fields.items():
        keys.append(name)
        part = field.annotation
        if isinstance(part, type) and issubclass(part, Section):
            keys += [f"{name}.{key}" for key in part.model_fields]
    return keys
