"""What a reconcile function may look at: the store through indexes, and facts that no object holds. Read-only.

Path: store, publisher, scale desk → [view] → reconcile/{service,…}.py.

Every lookup is O(what it returns): the indexes are kept from the store's changes, so that one edit among 10 000 routes
never lists 10 000 routes.

Source: architecture.md "The four contracts" 4; spec/serving.md §1.6, §4.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

from controlplane.knative_config import KnativeConfig
from controlplane.reconcile.destination import wanted_by
from controlplane.reconcile.naming import ROUTES, names_in
from controlplane.reconcile.outcome import key_for
from controlplane.store.contract import Change, Key, Store
from dataplane.resources import core, eventing, serving
from dataplane.resources.kinds import KINDS
from dataplane.resources.meta import Resource
from dataplane.resources.scaling import Decision
from dataplane.resources.triggers import Reported

R = TypeVar("R", bound=Resource)


class Programmed(NamedTuple):
    """What the hops have of a Route. `settled`: every hop that counts has applied it."""

    hash: str
    settled: bool


class Facts(NamedTuple):
    """What is true outside the store. All callables answer at once, from memory."""

    config: Callable[[], KnativeConfig]
    programmed: Callable[[str], Programmed | None]  # by namespace/name of a Route
    decision: Callable[[str], Decision | None]  # by namespace/name of a Revision
    in_flight: Callable[[str], int | None]  # by uid of a pod; None = unknown
    suffix: Callable[[], str]  # five characters that no living pod has
    url_port: int = 80  # of the gateway's external listener: shown in URLs when it is not 80
    broker_url: str = ""  # of the brokers' ingress, without a path; "" = there is none
    reported: Callable[[str, str], Reported | None] = lambda kind, key: (
        None
    )  # what broker processes say (brokerdesk.py)


class _Index:
    """Sets of keys by a word. Keys keep the order in which they came."""

    __slots__ = ("_sets",)

    def __init__(self) -> None:
        self._sets: dict[object, dict[Key, None]] = {}

    def add(self, word: object, key: Key) -> None:
        self._sets.setdefault(word, {})[key] = None

    def remove(self, word: object, key: Key) -> None:
        found = self._sets.get(word)
        if found is not None:
            found.pop(key, None)
            if not found:
                del self._sets[word]

    def get(self, word: object) -> tuple[Key, ...]:
        return tuple(self._sets.get(word, ()))

    def words(self) -> tuple[object, ...]:
        return tuple(self._sets)


class View:
    """`open` first; then `note` every change of the store, in order."""

    __slots__ = ("_indexed", "_owned", "_referring", "_routed", "_store", "_uids", "events", "facts")

    def __init__(self, store: Store, facts: Facts) -> None:
        self._store = store
        self.facts = facts
        self.events: dict[Key, None] = {}  # oldest first
        self._indexed: dict[Key, Resource] = {}
        self._owned = _Index()  # owner uid → dependents
        self._referring = _Index()  # what is named → who names it in its spec
        self._routed = _Index()  # Route → objects whose routes annotation lists it
        self._uids: dict[str, Key] = {}

    def open(self) -> None:
        for kind in KINDS:
            for one in self._store.objects(kind.group, kind.kind):
                self._index(Key(kind.group, kind.kind, one.metadata.namespace, one.metadata.name), one)

    def note(self, change: Change) -> None:
        """Keep the indexes. Idempotent."""
        self._index(change.key, None if change.type == "DELETED" else change.object)

    @property
    def config(self) -> KnativeConfig:
        return self.facts.config()

    def get(self, key: Key) -> Resource | None:
        return self._store.get(key)

    def find(self, struct: type[R], namespace: str, name: str) -> R | None:
        found = self._store.get(key_for(struct, namespace, name))
        assert found is None or isinstance(found, struct)
        return found

    def children(self, struct: type[R], parent: Resource) -> list[R]:
        """What `parent` controls, of one kind, by name."""
        kind = key_for(struct, "", "")[:2]
        found = [self._store.get(key) for key in sorted(self._owned.get(parent.metadata.uid)) if key[:2] == kind]
        return [one for one in found if isinstance(one, struct) and _controls(parent.metadata.uid, one)]

    def dependents(self, uid: str) -> list[tuple[Key, Resource]]:
        """What carries an ownerReference to this uid, controller or not."""
        found = ((key, self._store.get(key)) for key in self._owned.get(uid))
        return [(key, one) for key, one in found if one is not None]

    def exists(self, uid: str) -> bool:
        """Whether an object with this uid is in the store."""
        return uid in self._uids

    def by_uid(self, uid: str) -> Key | None:
        return self._uids.get(uid)

    def referring(self, key: Key) -> tuple[Key, ...]:
        """Who names this object: Routes and Configurations name Configurations and Revisions, Triggers anything."""
        return self._referring.get(key)

    def routed(self, route: Key) -> tuple[Key, ...]:
        """Revisions and Configurations that carry this Route in their routes annotation."""
        return self._routed.get(route)

    def routing(self) -> tuple[Key, ...]:
        """Routes that some routes annotation lists, whether they exist or not."""
        return tuple(word for word in self._routed.words() if isinstance(word, Key))

    def all_keys(self) -> tuple[Key, ...]:
        """Everything that there is: for a resync."""
        return tuple(self._indexed)

    def _index(self, key: Key, one: Resource | None) -> None:
        before = self._indexed.pop(key, None)
        if before is not None:
            self._uids.pop(before.metadata.uid, None)
            for index, word in self._words(before):
                index.remove(word, key)
        self.events.pop(key, None)
        if one is None:
            return
        self._indexed[key] = one
        self._uids[one.metadata.uid] = key
        for index, word in self._words(one):
            index.add(word, key)
        if isinstance(one, core.Event):
            self.events[key] = None

    def _words(self, one: Resource) -> list[tuple[_Index, object]]:
        words: list[tuple[_Index, object]] = [(self._owned, ref.uid) for ref in one.metadata.owner_references]
        if isinstance(one, serving.Route):
            words += [(self._referring, key) for key in references(one)]
        elif isinstance(one, eventing.Broker | eventing.Trigger):
            words += [(self._referring, key) for key in wanted_by(one)]
        elif isinstance(one, serving.Revision | serving.Configuration):
            if isinstance(one, serving.Configuration) and one.spec.template.metadata.name:
                named = key_for(serving.Revision, one.metadata.namespace, one.spec.template.metadata.name)
                words.append((self._referring, named))
            names = names_in(one.metadata.annotations.get(ROUTES, ""))
            words += [(self._routed, key_for(serving.Route, one.metadata.namespace, name)) for name in names]
        return words


def references(route: serving.Route) -> set[Key]:
    """Configurations and Revisions that its traffic names, wanted or programmed."""
    namespace, keys = route.metadata.namespace, set[Key]()
    for target in (*route.spec.traffic, *route.status.traffic):
        if target.configuration_name:
            keys.add(key_for(serving.Configuration, namespace, target.configuration_name))
        if target.revision_name:
            keys.add(key_for(serving.Revision, namespace, target.revision_name))
    return keys


def _controls(uid: str, child: Resource) -> bool:
    return any(ref.controller and ref.uid == uid for ref in child.metadata.owner_references)
