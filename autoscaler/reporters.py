"""Who reports, and whether silence means "no load" or "no news".

Path: collect (links) | the same process → [reporters] → revision.

A reporter sends a stat while a revision has load, one with zeros when it ends, and an empty frame every second while it
is connected. So the silence of somebody we hear is a zero; the silence of somebody we lost is missing data.

    here     speaks by direct call, in this process: always heard
    heard    its link brought a frame within the last 3 s
    missing  its link broke or went quiet; nobody knows what it carries
    gone     it said goodbye, or was never there

Source: reliability.md AS-01, AS-02.
"""

from collections.abc import Iterable
from typing import Literal

SILENT_S = 3.0  # three missed keep-alives
REMEMBER_S = 600.0  # how long a lost reporter is remembered: it may carry load that we cannot see
NAMES_PER_LINK_MAX = 16
LOST_MAX = 10_000

Status = Literal["heard", "missing", "gone"]


class _Link:
    __slots__ = ("heard_at", "names")

    def __init__(self, now: float) -> None:
        self.heard_at = now
        self.names: set[str] = set()


class Reporters:
    """All reporters of this autoscaler. `local`: some of them live in this process, even before they first speak."""

    __slots__ = ("_local", "_here", "_links", "_owner", "_lost")

    def __init__(self, *, local: bool) -> None:
        self._local = local
        self._here: set[str] = set()
        self._links: dict[int, _Link] = {}
        self._owner: dict[str, int] = {}
        self._lost: dict[str, float] = {}  # reporter → when, oldest first

    def here(self, name: str) -> None:
        """`name` spoke by direct call."""
        if name not in self._here and len(self._here) < NAMES_PER_LINK_MAX:
            self._here.add(name)

    def opened(self, link: int, now: float, names: Iterable[str] = ()) -> None:
        """A link is up; it says that it speaks for `names`."""
        self._links[link] = _Link(now)
        self.frame(link, now, names)

    def frame(self, link: int, now: float, names: Iterable[str]) -> bool:
        """A valid frame came. False: it speaks for more reporters than one link may; the frame is to be ignored."""
        one = self._links[link]
        fresh = set(names) - one.names
        if len(one.names) + len(fresh) > NAMES_PER_LINK_MAX:
            return False
        one.heard_at = now
        one.names |= fresh
        for name in fresh:
            self._owner[name] = link
            self._lost.pop(name, None)
        return True

    def closed(self, link: int, now: float, *, goodbye: bool) -> None:
        """A link ended. `goodbye`: on purpose, with nothing left to report."""
        one = self._links.pop(link, None)
        if one is None:
            return
        for name in one.names:
            if self._owner.get(name) != link:
                continue  # it is back on another link already
            del self._owner[name]
            if not goodbye:
                self._lost.pop(name, None)
                self._lost[name] = now
        while self._lost and (len(self._lost) > LOST_MAX or now - next(iter(self._lost.values())) > REMEMBER_S):
            del self._lost[next(iter(self._lost))]

    def anyone(self, now: float) -> bool:
        """Somebody is heard, so no news about a revision is news."""
        return self._local or bool(self._here) or any(now - one.heard_at <= SILENT_S for one in self._links.values())

    def status(self, name: str, now: float) -> Status:
        since = self.missing_since(name, now)
        if since is not None:
            return "missing"
        return "heard" if name in self._here or name in self._owner else "gone"

    def missing_since(self, name: str, now: float) -> float | None:
        """When we lost it; None while it is heard or when it is gone."""
        if name in self._here:
            return None
        owner = self._owner.get(name)
        if owner is None:
            return self._lost.get(name)
        heard_at = self._links[owner].heard_at
        return heard_at if now - heard_at > SILENT_S else None
