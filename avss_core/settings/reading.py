"""Read the parameters of a run: a file, the options of a command over it, and `--set` over both."""

import sys
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from avss_core.settings.masking import masked
from avss_core.settings.messages import dotted_name, problem_line, unknown_key
from avss_core.settings.params import Params, known_keys
from avss_core.settings.renames import REMOVED, RENAMED, renewed


def load_params(
    path: Path, overrides: list[str] | None = None, options: Mapping[str, Any] | None = None
) -> Params:
    """Return the checked parameters of a YAML file over the defaults.

    A section or key that the file leaves out has its default; an older name stands for today's, with a
    warning on standard error. The file is read as YAML 1.2, as DVC does, so that 1e-5 is a number for both.

    Args:
        path: the file, usually params.yaml.
        overrides: "section.key=value" with the value as YAML, from `--set`; they win over everything else.
        options: values by dotted name that replace the file's.

    Raises:
        FileNotFoundError: the file is not there.
        ValueError: one line for each problem, with near matches for unknown keys; problems of the file itself
            stand below its name.
    """
    values = _read(path)
    in_file = [problem_line(error) for error in _errors(values)]
    for key, value in (options or {}).items():
        _put(values, key, value)
    replaced: dict[str, Any] = {}
    lines = [line for text in overrides or [] if (line := _override(values, text, replaced))]
    errors, left = _errors(values), []
    for error in errors:
        where, line = dotted_name(error), problem_line(error)
        if any(f"{where}.".startswith(f"{key}.") for key in replaced):
            lines.append(f"--set {problem_line(error, by_set=True)}")
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
    """Return every parameter as YAML that `load_params` reads back."""
    text = StringIO()
    yaml: Any = YAML(typ="safe", pure=True)
    yaml.sort_base_mapping_type_on_output, yaml.default_flow_style = (
        False,
        False,
    )  # in our order, a line a key
    yaml.dump(params.model_dump(mode="json"), text)
    return text.getvalue()


def _read(path: Path) -> dict[str, Any]:
    """Return the sections of a YAML file over the defaults."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there; run in the repository or name a file with --params")
    try:
        values = YAML(typ="safe", pure=True).load(path)
    except YAMLError as error:
        raise ValueError(masked(f"{path} is not valid YAML: {error}")) from None
    if values is not None and not isinstance(values, dict):
        raise ValueError(f"{path} holds no sections; expected {', '.join(Params.model_fields)}")
    merged = Params.model_construct().model_dump()
    for name, part in (values or {}).items():
        if not isinstance(merged.get(name), dict) or not isinstance(part, dict | None):
            merged[name] = part  # a value without a section, or one that is reported as wrong
            continue
        for key, value in (part or {}).items():
            if _is_removed(f"{name}.{key}", str(path)):
                continue
            section, own, word = _renewed(f"{name}.{key}", value, str(path))
            merged[section][own] = word
    return merged


def _errors(values: dict[str, Any]) -> list[ErrorDetails]:
    """Return every error in the values."""
    try:
        Params.model_validate(values)
    except ValidationError as error:
        return error.errors()
    return []


def _put(values: dict[str, Any], key: str, value: Any) -> Any:
    """Set one dotted key in place, and return the value before."""
    section, _, last = key.rpartition(".")
    part = values.setdefault(section, {}) if section else values
    if not isinstance(part, dict):
        return None  # the section itself is reported as wrong
    before = part.get(last)
    part[last] = value
    return before


def _override(values: dict[str, Any], text: str, replaced: dict[str, Any]) -> str | None:
    """Set one dotted key and note the value before; return the line for a text that cannot be used."""
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals or not key:
        return f"--set {text}: expected section.key=value"
    if _is_removed(key, "--set"):
        return None
    if key not in (*known_keys(), *RENAMED):
        return f"--set {unknown_key(key)}"
    try:
        section, own, word = _renewed(key, YAML(typ="safe", pure=True).load(value), "--set")
    except YAMLError:
        return f"--set {text}: {value!r} is not valid YAML"
    key = f"{section}.{own}" if section else own
    replaced.setdefault(key, _put(values, key, word))
    return None


def _is_removed(key: str, where: str) -> bool:
    """Tell whether a key of older settings is read no more, and warn of it."""
    if key in REMOVED:
        print(masked(f"warning: {where}: {key} is not read any more: {REMOVED[key]}"), file=sys.stderr)
    return key in REMOVED


def _renewed(key: str, value: Any, where: str) -> tuple[str, str, Any]:
    """Return section, key and value as they are called today; warn if an older word was used."""
    today, word, line = renewed(key, value)
    if line:
        print(masked(f"warning: {where}: {line}"), file=sys.stderr)
    section, _, own = today.rpartition(".")
    return section, own, word


def _unread(data: dict[str, Any], replaced: dict[str, Any]) -> list[str]:
    """Return the line for a folder given by `--set` that is not read, since the source is another one."""
    folder, source = data["path"], data["source"]
    if source == "path" or replaced.get("data.path", folder) == folder:
        return []
    return [f"--set data.path={folder} is not read while data.source is {source}; add --set data.source=path"]
