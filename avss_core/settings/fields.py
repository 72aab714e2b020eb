"""The kinds of values that settings have, each with what it refuses."""

import difflib
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

from avss_core.judges.judges import JUDGES
from avss_core.plugins import Table
from avss_core.settings.masking import masked

Names = TypeVar("Names", str, list[str])


def require_known(name: str, names: Collection[str], what: str) -> None:
    """Raise ValueError, with near matches, for a name that is not among the known ones."""
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ValueError(f"unknown {what} {name!r}: {hint}known: {', '.join(names)}")


def one_of(names: Collection[str], what: str, *also: str) -> AfterValidator:
    """Return the check that a name, or each name of a list, is a known one, or one of `also`.

    That of a plug-in is loaded, so that a broken one is told before any work.
    """

    def check(value: Names) -> Names:
        for name in [value] if isinstance(value, str) else value:
            require_known(name, [*also, *names], what)
            if isinstance(names, Table) and name not in also:
                names[name]
        return value

    return AfterValidator(check)


def _distinct(values: list[Any]) -> list[Any]:
    for value in values:
        if values.count(value) > 1:  # it would count twice
            raise ValueError(f"{value} is named twice")
    return values


def _folder_name(value: str) -> str:
    if value in {"", ".", ".."} or "/" in value or "\\" in value or not value.isprintable():
        raise ValueError(f"{value!r} is not the name of a folder: give one without slashes")
    return value


def _in_data(value: str) -> str:
    if value.startswith("/") or ".." in Path(value).parts:
        raise ValueError("it lies in the data folder: give a name without .. or leading /")
    return value


def _git_name(value: str) -> str:
    if value.startswith("/") or ".." in value:  # it names a file of the Hub's cache
        raise ValueError("a commit, tag or branch has no .. and no leading /")
    return value


Share = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
Several = Annotated[int, Field(ge=2)]
Natural = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]
Text = Annotated[str, Field(min_length=1)]
Site = Literal["output", "update", "attention", "mlp", "mlp_act"]
Distinct = AfterValidator(_distinct)
Layers = Annotated[list[Natural], Field(min_length=1), Distinct]
FolderName = Annotated[str, AfterValidator(_folder_name)]
"""A question set, which names its folder."""
InData = Annotated[Text, AfterValidator(_in_data)]
"""A file or folder of the data folder."""
GitName = Annotated[str, AfterValidator(_git_name)]
"""A commit, tag or branch."""
JudgeName = Annotated[str, one_of(JUDGES, "judge", "default")]


class Section(BaseModel):
    """A frozen part of the parameters that refuses keys it does not know."""

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
