"""CloudEvents as this project carries them: attributes as strings, data as untouched bytes.

Path: broker/ingress.py → [cloudevents] → store → dispatcher.py → [cloudevents] → deliver.py.

Source: spec/eventing.md §1-3; CloudEvents 1.0.3.
"""

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
