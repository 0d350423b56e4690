"""Which pods are at work, over all hops: what scale-in and the drain of a pod ask before they take one away.

Path: activator in this process, Running of followers (hops.py) → [occupancy] → reconcile/replicas.py, kubelet.

Scale-in wants the best guess now (`running`). A drain wants certainty (`remaining`): nothing runs there *and* nothing
can be sent there any more, so it counts only what a hop said after it had applied the generation that lets go of the
pod. A hop that is lost keeps what it last reported for a while: it may be serving on without us.

Source: spec/serving.md §12.3; §15.8 (upstream kills at random); reliability.md GW-33.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping

from controlplane.publish import Publisher
from dataplane.resources.snapshot import Running

LOST_S = 5.0  # after that long without a link a hop has connected again, or is gone
ASKED_MAX = 10_000  # drains remembered; a pod that is drained is asked about until it is idle


class Hop:
    """A follower that counts. `said` None: nothing yet."""

    __slots__ = ("said",)

    def __init__(self) -> None:
        self.said: Running | None = None


class Occupancy:
    """All methods are called on the loop and answer from memory. Pods by uid."""

    def __init__(self, *, local: Callable[[str], int | None], publisher: Publisher, clock: Callable[[], float]) -> None:
        """`local`: requests on a pod through hops of this process; they have every generation as soon as it is made."""
        self._local = local
        self._publisher = publisher
        self._clock = clock
        self._hops: set[Hop] = set()
        self._lost: list[tuple[float, Mapping[str, int]]] = []
        self._since: OrderedDict[str, int] = OrderedDict()  # pod → first generation that surely lets go of it

    def join(self) -> Hop:
        hop = Hop()
        self._hops.add(hop)
        return hop

    def said(self, hop: Hop, what: Running) -> None:
        hop.said = what

    def leave(self, hop: Hop) -> None:
        self._hops.discard(hop)
        if hop.said is not None and hop.said.pods:
            self._lost.append((self._clock() + LOST_S, hop.said.pods))

    def running(self, pod: str) -> int | None:
        """Requests on it, as far as anybody has said; None when somebody has said nothing yet."""
        count = self._here(pod)
        for hop in self._hops:
            if hop.said is None:
                return None
            count += hop.said.pods.get(pod, 0)
        return count

    def remaining(self, pod: str) -> int | None:
        """Requests on a pod whose endpoint has been said to be draining: 0 = none, and none will come any more.

        None: some hop has not answered for the generation that lets go of it.
        """
        since = self._since.get(pod)
        if since is None:
            if not self._publisher.is_current:
                return None
            since = self._publisher.snapshot.generation
            self._since[pod] = since
            if len(self._since) > ASKED_MAX:
                self._since.popitem(last=False)
        count: int | None = self._here(pod)
        for hop in self._hops:
            said = hop.said
            if said is None or said.generation < since or (said.cut and pod not in said.pods):
                count = None
                break
            assert count is not None
            count += said.pods.get(pod, 0)
        if count == 0:
            del self._since[pod]
        return count

    def _here(self, pod: str) -> int:
        now = self._clock()
        self._lost = [one for one in self._lost if one[0] > now]
        return (self._local(pod) or 0) + sum(pods.get(pod, 0) for _, pods in self._lost)
