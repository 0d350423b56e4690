"""What `dataplane traffic` makes of its arguments: the new spec.traffic. Pure.

    new_traffic(present, ("hello-00002=10", "@latest=90"), tags=("hello-00002=canary",))

A target that is named gets its percent; the others get 0 and leave, unless they carry a tag. When exactly one target
was not named and had traffic, it gets the rest, as with `kn service update --traffic`.

Source: spec/serving.md §2.4 (traffic); design/ecosystem.md §2.1 (kn).
"""

from typing import Any

Target = dict[str, Any]
LATEST = "@latest"


def new_traffic(
    present: list[Target], shares: tuple[str, ...], *, tags: tuple[str, ...] = (), untags: tuple[str, ...] = ()
) -> list[Target]:
    """The new list, largest share first within the order given. Raises ValueError saying what would be right."""
    percents = _percents(present)
    tagged = {str(one["tag"]): _name(one) for one in present if one.get("tag")}
    if shares:
        percents = _shared(percents, _asked(shares))
    for tag in untags:
        if tag not in tagged:
            raise ValueError(f"there is no tag {tag!r}; there are: {', '.join(sorted(tagged)) or 'none'}")
        del tagged[tag]
    for one in tags:
        revision, equals, tag = one.partition("=")
        if not equals or not revision or not tag:
            raise ValueError(f"--tag {one}: expected REVISION=NAME, for example hello-00002=canary")
        tagged[tag] = revision
    return _targets(percents, tagged)


def _asked(shares: tuple[str, ...]) -> dict[str, int]:
    out: dict[str, int] = {}
    for one in shares:
        name, equals, percent = one.rpartition("=")
        if not equals or not name or not percent.removesuffix("%").isdigit():
            raise ValueError(f"{one}: expected REVISION=PERCENT, for example hello-00002=10 or @latest=90")
        if name in out:
            raise ValueError(f"{name} is named twice")
        out[name] = int(percent.removesuffix("%"))
    return out


def _shared(present: dict[str, int], asked: dict[str, int]) -> dict[str, int]:
    total = sum(asked.values())
    if total > 100:
        raise ValueError(f"the percents sum to {total}; they must sum to 100")
    if total < 100:
        others = [name for name, percent in present.items() if name not in asked and percent > 0]
        if len(others) != 1:
            told = f" ({', '.join(others)} are not named)" if others else ""
            raise ValueError(f"the percents sum to {total}; they must sum to 100{told}")
        asked = {**asked, others[0]: 100 - total}
    return asked


def _percents(present: list[Target]) -> dict[str, int]:
    out: dict[str, int] = {}
    for one in present:
        out[_name(one)] = out.get(_name(one), 0) + int(one.get("percent") or 0)
    return out or {LATEST: 100}


def _name(target: Target) -> str:
    return LATEST if not target.get("revisionName") else str(target["revisionName"])


def _targets(percents: dict[str, int], tagged: dict[str, str]) -> list[Target]:
    """One entry per share; a tag joins the entry of its revision, further tags get entries without a share."""
    free = dict(tagged)
    out = []
    for name, percent in percents.items():
        tag = next((one for one, revision in free.items() if revision == name), "")
        if percent == 0 and not tag:
            continue
        free.pop(tag, None)
        out.append(_target(name, percent, tag))
    out += [_target(name, 0, tag) for tag, name in free.items()]
    return out


def _target(name: str, percent: int, tag: str) -> Target:
    where: Target = {"latestRevision": True} if name == LATEST else {"latestRevision": False, "revisionName": name}
    return {**where, "percent": percent, **({"tag": tag} if tag else {})}
