"""SQLite files: their address, whether they are whole, and MLflow's after its folder has moved."""

import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import quote, urlsplit

from sqlalchemy import make_url

_ADDRESSES = (
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""Tables and columns with addresses below an experiment's artifacts."""


def database_url(path: Path, driver: str = "sqlite") -> str:
    """Return the address of an SQLite file, by its full path, as SQLAlchemy reads it back."""
    text = str(path)
    if {*text} & {*"%?"}:  # signs of an address
        # Slashes too: MLflow makes the folder that the text before the last one names.
        text = f"/{quote(text[1:], safe='')}"
    return f"{driver}:///{text}"


def sqlite_file(url: str) -> Path | None:
    """Return the full path of the SQLite file of an address, None for another address."""
    if not url.startswith("sqlite:"):
        return None
    name = make_url(url).database
    return Path(name).resolve() if name else None


def move_artifacts(database: Path, experiment: str, place: str) -> None:
    """Make MLflow look for the artifacts of an experiment beside its database: the folder may have moved.

    MLflow stores whole paths and has no call that changes them. A place that has another name was chosen by
    the user and stays.

    Args:
        database: MLflow's SQLite file; it need not exist.
        experiment: a name.
        place: the address of the folder where the artifacts are.
    """
    if not database.is_file():
        return
    with closing(sqlite3.connect(database)) as opened, suppress(sqlite3.OperationalError), opened:
        rows = opened.execute("SELECT artifact_location FROM experiments WHERE name = ?", (experiment,))
        for (before,) in rows.fetchall():
            moved = urlsplit(before).scheme == "file" and Path(before).name == Path(place).name
            if moved and before != place:
                opened.execute(
                    "UPDATE experiments SET artifact_location = ? WHERE name = ?", (place, experiment)
                )
                for table, column in _ADDRESSES:
                    opened.execute(
                        f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                        f"WHERE instr({column}, ?) = 1",
                        (place, len(before) + 1, f"{before}/"),
                    )


def is_damaged(path: Path) -> bool:
    """Tell whether an existing file is not an SQLite database or was cut off; a file in use counts as whole.

    All pages are read: a write-ahead log beside the file can hide that some are gone.
    """
    if not path.is_file():
        return False
    try:
        with closing(sqlite3.connect(path)) as opened:
            (result,) = opened.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.OperationalError:
        return False
    except sqlite3.DatabaseError:
        return True
    return bool(result != "ok")
