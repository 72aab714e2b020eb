"""Whether an SQLite file is whole, asked before a library fails in the middle of it."""

import sqlite3
from contextlib import closing
from pathlib import Path


def is_damaged(path: Path) -> bool:
    """Tell whether a file that is there is no SQLite database, or was cut off; one that is in use is not.

    The pages are looked through: what a write-ahead log beside it holds can hide that others are gone.
    """
    if not path.is_file():
        return False
    try:
        with closing(sqlite3.connect(path)) as opened:
            found: tuple[str] = opened.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.OperationalError:
        return False
    except sqlite3.DatabaseError:
        return True
    return found != ("ok",)
