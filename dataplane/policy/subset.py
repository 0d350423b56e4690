"""Which pods of a revision an activator uses, when there are several activators. Pure.

Path: snapshot → activator/subset.py → [subset] → hold.py.

With a limit per pod, two activators that each know every pod would each fill it. So pods are dealt out: with as many
pods as activators or more, every activator has pods of its own; with fewer, several share a pod, and its limit.
Upstream lets each of those that share use the whole limit (its queue-proxy turns the rest away); here it is divided,
and only a limit smaller than the number of those that share is exceeded: each has one place.

Source: spec/serving.md §8.9.
"""


def dealt(pods: int, activators: int, index: int) -> list[int]:
    """Positions, among `pods` in their order, of those that activator `index` uses. index -1: not known yet, all."""
    if index < 0 or activators <= 1:
        return list(range(pods))
    if not pods:
        return []
    if activators > pods:
        return [index % pods]
    each, rest = divmod(pods, activators)
    own = list(range(index * each, (index + 1) * each))
    return [*own, pods - rest + index] if index < rest else own


def share(limit: int, pods: int, activators: int, index: int) -> int:
    """The part of a pod's limit that activator `index` may use; at least 1."""
    if index < 0 or not 0 < pods < activators:
        return limit
    position = index % pods
    sharing = len(range(position, activators, pods))
    each, rest = divmod(limit, sharing)
    return max(1, each + (index // pods < rest))
