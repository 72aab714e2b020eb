"""Whether an SQLite file is whole, asked before a library fails in the middle of it."""

import sqlite3
from contextlib import closing
from pathlib import Path


def is_damaged(path: Path) -> bool:
    """Tell whether a file that is there is no SQLite database, or was cut off; one that is in use is not."""
    if not path.is_file():
        return False
    try:
        with closing(sqlite3.connect(path)) as opened:
            opened.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError:
        return False
    except sqlite3.DatabaseError:
        return True
    return False
