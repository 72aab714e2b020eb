"""A check of SQLite files, made before a library fails in the middle of one."""

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote


def database_url(path: Path, driver: str = "sqlite") -> str:
    """Return the address of an SQLite file, by its full path, as SQLAlchemy reads it back."""
    text = str(path)
    if {*text} & {*"%?"}:  # signs of an address
        # Slashes too: MLflow makes the folder that the text before the last one names.
        text = f"/{quote(text[1:], safe='')}"
    return f"{driver}:///{text}"


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
