"""What waits for the next group: appends, and what must be written down beside them.

Path: log.py → groups.py → [pending] → files.py.
"""

from collections.abc import Sequence
from typing import NamedTuple

from broker.store.contract import Done, Record
from broker.store.place import Handed, Place
from broker.store.schedule import Entry
from broker.store.sqlite.files import LetterRow
from broker.store.sqlite.rows import Row

DAMAGED_MAX = 1000  # noted of groups that failed; a row that is damaged is found again


class Append(NamedTuple):
    """seen: a key for each row, or none without a window. place, handed: whose settle goes with it."""

    records: Sequence[Record]
    rows: Sequence[Row]
    seen: Sequence[bytes]
    size_bytes: int
    done: Done
    place: Place | None = None
    handed: Handed | None = None


class Pending:
    """What must be written down beside records; the newest of each."""

    __slots__ = ("damaged", "letters", "places", "rows")

    def __init__(self) -> None:
        self.places: dict[str, Place] = {}
        self.rows: dict[tuple[str, int], Entry | None] = {}
        self.letters: list[LetterRow] = []
        self.damaged: list[tuple[int, str]] = []

    def __len__(self) -> int:
        return len(self.places) + len(self.rows) + len(self.letters) + len(self.damaged)

    def after(self, failed: "Pending") -> None:
        """What a group that failed had to write down goes with the next one, unless something newer does."""
        for key, place in failed.places.items():
            self.places.setdefault(key, place)
            place.dirty = True
        self.rows = failed.rows | self.rows
        self.letters = failed.letters + self.letters
        self.damaged = (failed.damaged + self.damaged)[-DAMAGED_MAX:]
