"""The kinds of values that settings have, each with what it refuses."""

import difflib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainValidator,
    field_validator,
)
from pydantic_core import CoreSchema
from pydantic_core.core_schema import no_info_after_validator_function

from avss_core.judges.judges import JUDGES
from avss_core.plugins import Table
from avss_core.settings.masking import masked

Names = TypeVar("Names", str, list[str])

AUTO = "auto"
"""The batch size that is chosen by the free memory."""


def require_known(name: str, names: Collection[str], what: str) -> None:
    """Raise ValueError, with near matches, for a name that is not among the known ones."""
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ValueError(f"unknown {what} {name!r}: {hint}known: {', '.join(names)}")


@dataclass(frozen=True)
class OneOf:
    """The check that a name, or each name of a list, is a known one; a JSON schema lists the names.

    That of a plug-in is loaded, so that a broken one is told before any work.
    """

    names: Collection[str]
    what: str
    also: tuple[str, ...] = ()

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Return the schema of the value with the check behind it."""
        return no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Return the JSON schema of the value with the known names."""
        shown = handler(schema)
        shown.get("items", shown)["enum"] = [*self.also, *self.names]
        return shown

    def _check(self, value: Names) -> Names:
        for name in [value] if isinstance(value, str) else value:
            require_known(name, [*self.also, *self.names], self.what)
            if isinstance(self.names, Table) and name not in self.also:
                self.names[name]
        return value


def one_of(names: Collection[str], what: str, *also: str) -> OneOf:
    """Return the check that a name, or each name of a list, is a known one, or one of `also`."""
    return OneOf(names, what, also)


def _distinct(values: list[Any]) -> list[Any]:
    for value in values:
        if values.count(value) > 1:  # it would count twice
            raise ValueError(f"{value} is named twice")
    return values


def _batch(value: Any) -> Any:
    if value != AUTO and (type(value) is not int or value < 1):
        raise ValueError(f"it is a number from 1, or {AUTO}: as many as memory has room for")
    return value


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
Batch = Annotated[
    int | Literal["auto"],
    PlainValidator(_batch, json_schema_input_type=Annotated[int, Field(ge=1)] | Literal["auto"]),
]
"""A batch size that changes results by rounding alone."""
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

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, validate_default=True
    )

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
