"""Where the autoscaler's decisions arrive: fenced, merged, kept in memory for whoever acts on them.

Path: autoscaler (in-process or hops.py) → [scaledesk] → reconcile/replicas.py, reconcile/autoscaler.py.

Only the newest lease may write: an autoscaler that was replaced and does not know it is refused (AS-06). The store is
written when a number or a condition changes, not at every tick.

Source: reliability.md AS-06, AS-07; spec/serving.md §10.7.
"""

from collections.abc import Callable

from msgspec.structs import replace

from controlplane.reconcile.outcome import key_for
from controlplane.store.contract import Change, Store
from dataplane.clock import Clock
from dataplane.resources.scaling import Decision, ScaleWrite
from dataplane.resources.serving import Revision


class StaleToken(Exception):
    """Another autoscaler holds the lease."""

    def __init__(self, token: int, newest: int) -> None:
        super().__init__(f"token {token} is not the newest lease ({newest})")
        self.token = token
        self.newest = newest


class ScaleDesk:
    """Decisions by revision (namespace/name); those of revisions that do not exist are not kept."""

    __slots__ = ("_changed", "_clock", "_decisions", "_store", "_token", "_unwatch")

    def __init__(self, *, store: Store, clock: Clock, changed: Callable[[str], None]) -> None:
        """`changed` is called with the revision when there is something new to act on."""
        self._store = store
        self._clock = clock
        self._changed = changed
        self._decisions: dict[str, Decision] = {}
        self._token = self._fresh_token()  # greater than what an earlier process gave out
        self._unwatch = store.watch(self._forget)

    def close(self) -> None:
        self._unwatch()

    def lease(self) -> int:
        """The right to decide, from now on. Ends every lease before."""
        self._token = max(self._token + 1, self._fresh_token())
        return self._token

    def accept(self, write: ScaleWrite) -> None:
        """Take over the decisions. Raises StaleToken; nothing is taken over then."""
        if write.token != self._token:
            raise StaleToken(write.token, self._token)
        for decision in write.decisions:
            namespace, _, name = decision.revision.partition("/")
            if self._store.get(key_for(Revision, namespace, name)) is None:
                continue
            before = self._decisions.get(decision.revision)
            if decision.want < 0:  # "leave it": what was wanted before stands, also while it is not yet written
                decision = replace(decision, want=before.want if before is not None else -1)
            self._decisions[decision.revision] = decision
            if before is None or _acts(before) != _acts(decision):
                self._changed(decision.revision)

    def decision(self, revision: str) -> Decision | None:
        return self._decisions.get(revision)

    def _forget(self, change: Change) -> None:
        if change.type == "DELETED" and isinstance(change.object, Revision):
            self._decisions.pop(f"{change.key.namespace}/{change.key.name}", None)

    def _fresh_token(self) -> int:
        return int(self._clock.wall() * 1000)


def _acts(decision: Decision) -> tuple[int, str, str]:
    return (decision.want, decision.active, decision.reason)
