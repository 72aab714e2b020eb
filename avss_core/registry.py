"""Look a name up in a table of records, with an error that helps; read a table's names without its module."""

import ast
import difflib
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

Record = TypeVar("Record")


def lookup(table: Mapping[str, Record], name: str, what: str) -> Record:
    """Return the record of a name.

    Args:
        table: records by name.
        name: what is looked for.
        what: what the records are, for the message.

    Raises:
        LookupError: the table has no such name; near matches are given.
    """
    if name not in table:
        near = difflib.get_close_matches(name, table, n=2)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise LookupError(f"unknown {what} {name!r}: {hint}known {what}s: {', '.join(table)}")
    return table[name]


def names_in(module: str, table: str) -> list[str]:
    """Return the names of a table that a module writes out, in its order, without loading the module.

    For a help text or a check of settings, which should not wait for torch.

    Args:
        module: dotted name.
        table: what the table is called in the module; an annotated literal.

    Raises:
        LookupError: there is no such module or table.

    Example:
        >>> names_in("avss_core.hallucination.localization", "READINGS")
        ['eavss', 'eavss_contrast', 'eavss_paired']
    """
    return list(_written(module, table))


def fields_in(module: str, table: str, field: str) -> dict[str, Any]:
    """Return by name what the records of a table give a field as a literal, without loading the module.

    None where a record does not name the field.

    Args:
        module: dotted name.
        table: what the table is called in the module; an annotated literal, its values calls of a record.
        field: keyword of the record.

    Raises:
        LookupError: there is no such module or table.

    Example:
        >>> fields_in("avss_core.scores.scores", "SCORES", "site")["avss_output"]
        'output'
    """
    given = {
        name: {keyword.arg: keyword.value for keyword in getattr(record, "keywords", [])}
        for name, record in _written(module, table).items()
    }
    return {
        name: ast.literal_eval(fields[field]) if field in fields else None for name, fields in given.items()
    }


def _written(module: str, table: str) -> dict[str, ast.expr]:
    """Return the records of a table as a module writes them out, by name."""
    spec = find_spec(module)
    source = Path(spec.origin).read_text(encoding="utf-8") if spec and spec.origin else ""
    for node in ast.parse(source).body:
        if not (isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == table):
            continue
        if isinstance(node.value, ast.Dict):
            pairs = zip(node.value.keys, node.value.values, strict=True)
            return {str(ast.literal_eval(key)): value for key, value in pairs if key}
    raise LookupError(f"{module} writes out no table {table}")
