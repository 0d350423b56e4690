"""Which pod: how a revision's requests are spread over its pods.

    containerConcurrency 0      the less loaded of two at random (no limit to respect, so balance)
    containerConcurrency 1..3   the first with a free slot, in address order (fill few pods, let the others idle)
    containerConcurrency ≥ 4    round-robin over pods with a free slot

Kept incrementally: taking and leaving are O(1) (first-free: amortised), whatever the number of pods.

Source: spec/serving.md §8.7.
"""

from collections import deque
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar


class Candidate(Protocol):
    in_flight: int


P = TypeVar("P", bound=Candidate)


class Picker(Protocol[P]):
    """Told about pods; asked for one. `limit` per pod is the caller's containerConcurrency."""

    def replace(self, pods: list[P]) -> None:
        """The pods that may be used now, in address order."""
        ...

    def take(self) -> P | None:
        """A pod with a free slot, or None. The caller counts it in."""
        ...

    def freed(self, pod: P) -> None:
        """A slot of the pod, which was full, is free again."""
        ...


class LeastOfTwo(Generic[P]):
    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self._pods: list[P] = []

    def replace(self, pods: list[P]) -> None:
        self._pods = pods

    def take(self) -> P | None:
        pods = self._pods
        count = len(pods)
        if count < 2:
            return pods[0] if pods else None
        first = int(self._random() * count)
        second = int(self._random() * (count - 1))
        if second >= first:
            second += 1
        one, other = pods[first], pods[second]
        return other if other.in_flight < one.in_flight else one

    def freed(self, pod: P) -> None:
        pass


class FirstFree(Generic[P]):
    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._pods: list[P] = []
        self._index: dict[int, int] = {}
        self._hint = 0  # every pod before it is full

    def replace(self, pods: list[P]) -> None:
        self._pods = pods
        self._index = {id(pod): i for i, pod in enumerate(pods)}
        self._hint = 0

    def take(self) -> P | None:
        pods, limit = self._pods, self._limit
        while self._hint < len(pods):
            pod = pods[self._hint]
            if pod.in_flight < limit:
                return pod
            self._hint += 1
        return None

    def freed(self, pod: P) -> None:
        index = self._index.get(id(pod))
        if index is not None and index < self._hint:
            self._hint = index


class RoundRobin(Generic[P]):
    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._free: deque[P] = deque()
        self._usable: set[int] = set()

    def replace(self, pods: list[P]) -> None:
        self._usable = {id(pod) for pod in pods}
        self._free = deque(pod for pod in pods if pod.in_flight < self._limit)

    def take(self) -> P | None:
        free = self._free
        while free:
            pod = free.popleft()
            if pod.in_flight >= self._limit:
                continue
            if pod.in_flight + 1 < self._limit:
                free.append(pod)
            return pod
        return None

    def freed(self, pod: P) -> None:
        if id(pod) in self._usable:
            self._free.append(pod)


def picker(container_concurrency: int, random: Callable[[], float]) -> "Picker[P]":
    """The policy of spec §8.7 for this limit."""
    if container_concurrency == 0:
        return LeastOfTwo(random)
    if container_concurrency <= 3:
        return FirstFree(container_concurrency)
    return RoundRobin(container_concurrency)
