"""An event as this project carries it: attributes as strings, data as untouched bytes.

Source: spec/eventing.md §1; CloudEvents 1.0.3.
"""

from collections.abc import Iterable, Mapping

import msgspec


class Event(msgspec.Struct, frozen=True, gc=False):
    """One event, of specversion 1.0 or 0.3, as it was received. Never mutated: `attributes` belongs to the event.

    attributes: every context attribute by lower-case name in its canonical string form (spec §1.4), in the order
    received, `specversion`, `id`, `source`, `type` and `datacontenttype` among them.
    data: the payload's bytes as they came; None = no data (b"" is data).
    typed: extensions that came as JSON numbers or booleans, for whoever needs their type; the string form is canonical.
    json_implied: came as a JSON value without `datacontenttype` (spec §2.2, §3.4).
    """

    attributes: dict[str, str]
    data: bytes | None = None
    typed: dict[str, int | bool] = {}
    json_implied: bool = False

    @property
    def id(self) -> str:
        return self.attributes["id"]

    @property
    def source(self) -> str:
        return self.attributes["source"]

    @property
    def type(self) -> str:
        return self.attributes["type"]


def with_attributes(event: Event, values: Mapping[str, str | int | bool], remove: Iterable[str] = ()) -> Event:
    """The same event with some attributes set and some taken away. Names and values are ours, and trusted."""
    attributes = dict(event.attributes)
    typed = dict(event.typed)
    for name in remove:
        attributes.pop(name, None)
        typed.pop(name, None)
    for name, value in values.items():
        if isinstance(value, str):
            attributes[name] = value
            typed.pop(name, None)
        else:
            attributes[name] = canonical(value)
            typed[name] = value
    return Event(attributes, event.data, typed, event.json_implied)


def canonical(value: int | bool) -> str:
    """Of an Integer or a Boolean: its string form (spec §1.4)."""
    return ("true" if value else "false") if isinstance(value, bool) else str(value)
