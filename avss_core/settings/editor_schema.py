"""The JSON schema of the settings, by which an editor completes, explains and checks a file of them."""

import re
from typing import Any

from avss_core.settings.params import Params
from avss_core.settings.places import DEFAULT_PARAMS

SCHEMA = "params.schema.json"
"""The file of the schema, beside `params.yaml`."""

_SECTION = re.compile(r"^(\w+):\s*(?:#.*)?$")
_EXPLAINED = re.compile(r"^  (\w+): .*?\s# (.*)$")


def editor_schema() -> dict[str, Any]:
    """Return the JSON schema of a file of settings; what `params.yaml` says behind a key explains it."""
    schema = Params.model_json_schema()
    kinds, explained = schema["$defs"], _explanations()
    for name, section in schema["properties"].items():
        section.pop("default", None)  # the defaults of its keys say the same
        kind = kinds.get(section.get("$ref", "").rpartition("/")[2], {})
        for key, value in kind.get("properties", {}).items():
            value.pop("title", None)
            if f"{name}.{key}" in explained:
                value["description"] = explained[f"{name}.{key}"]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "Settings of AVSS"}


def _explanations() -> dict[str, str]:
    """Return what `params.yaml` says behind each key, by dotted name."""
    section, said = "", {}
    for line in DEFAULT_PARAMS.read_text(encoding="utf-8").splitlines():
        if named := _SECTION.match(line):
            section = named[1]
        elif key := _EXPLAINED.match(line):
            said[f"{section}.{key[1]}"] = key[2]
    return said
