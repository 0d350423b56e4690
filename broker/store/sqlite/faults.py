"""What an error of SQLite means for the promise: wait, make space, or stop. Pure.

Source: reliability.md BR-06, BR-07.
"""

import sqlite3

_FATAL = (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_READONLY)


def fatal(error: Exception) -> bool:
    """The disk or the file failed: nobody knows what the disk has, and another try would hide it (BR-06)."""
    return isinstance(error, sqlite3.Error) and not full(error) and _primary(error) in _FATAL


def full(error: Exception) -> bool:
    """The disk is full."""
    return isinstance(error, sqlite3.Error) and (
        _primary(error) == sqlite3.SQLITE_FULL
        or getattr(error, "sqlite_errorcode", 0) in (sqlite3.SQLITE_IOERR_SHMSIZE, sqlite3.SQLITE_CANTOPEN)
    )


def locked(error: Exception) -> bool:
    """Another process has the file."""
    return isinstance(error, sqlite3.Error) and _primary(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _primary(error: sqlite3.Error) -> int:
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF
