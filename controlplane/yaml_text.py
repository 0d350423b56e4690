"""YAML as Kubernetes reads it → plain JSON-shaped values, each with its place in the text. Pure, safe, linear.

Path: text of a manifest → [yaml_text] → manifest.py; small values in ConfigMaps → config_data.py.

Kubernetes tools read YAML with go-yaml v2 and turn it into JSON; PyYAML's own resolver differs (yaml_scalars.py), and
keys become strings. Documents are split at `---` first, so that one broken document does not hide the mistakes of the
next.

Hostile text: events are taken one by one from libyaml (no recursion), and nesting, nodes, and the size after expanding
aliases are bounded. An alias shares the value that it names, it does not copy it.

Cost: about 2.5 µs per scalar; NODES_MAX keeps the worst 1.5 MiB under a second.
Source: design/ecosystem.md §1.6; reliability CP-01.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

import yaml
from yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    CollectionStartEvent,
    DocumentEndEvent,
    MappingStartEvent,
    ScalarEvent,
)

from controlplane.yaml_scalars import CORE, MAYBE, TAGS, resolve

TEXT_BYTES_MAX = 3 * 512 * 1024  # 1.5 MiB, what an API server accepts
NODES_MAX = 150_000
DEPTH_MAX = 100
_DOCUMENT_COST = 10  # a document costs about as much time as ten values
_DIRECTIVES_MAX = 16  # libyaml searches them linearly
_FAULTS_MAX = 100  # of one text: nobody reads more


class YamlFault(NamedTuple):
    """What is wrong and where; line and column count from 1."""

    line: int
    column: int
    message: str
    syntax: bool = False  # libyaml's complaint, not one of ours


class Place:
    """Where a value stands: the position of its key, or of itself in a list. `entries` are those of its children."""

    __slots__ = ("line", "column", "entries")

    def __init__(self, line: int, column: int) -> None:
        self.line = line
        self.column = column
        self.entries: dict[str, Place] | list[Place] | None = None

    def find(self, path: str) -> "Place":
        """The place of a dotted path (`spec.containers[0].image`), or of the nearest ancestor that exists.

        Keys may contain dots (annotations); `[key]` names a map entry, too.
        """
        at, rest = self, path
        while rest:
            step = at._step(rest)
            if step is None:
                break
            at, rest = step
        return at

    def _step(self, rest: str) -> "tuple[Place, str] | None":
        inside = rest.partition("]") if rest[0] == "[" else None
        if isinstance(self.entries, list):
            index = inside[0][1:] if inside else ""
            if inside and index.isdecimal() and int(index) < len(self.entries):
                return self.entries[int(index)], inside[2].removeprefix(".")
            return None
        if not self.entries:
            return None
        if inside and inside[0][1:] in self.entries:
            return self.entries[inside[0][1:]], inside[2].removeprefix(".")
        for end in (len(rest), *(found.start() for found in reversed(list(_BREAK.finditer(rest))))):
            entry = self.entries.get(rest[:end])
            if entry is not None:
                return entry, rest[end:].removeprefix(".")
        return None


_BREAK = re.compile(r"[.\[]")


class Document(NamedTuple):
    value: object
    place: Place


def documents(text: str) -> tuple[list[Document], list[YamlFault]]:
    """Every document that is not empty, and every fault; a document with a fault is left out."""
    if len(text) > TEXT_BYTES_MAX or len(text.encode("utf-8", "replace")) > TEXT_BYTES_MAX:
        return [], [YamlFault(1, 1, f"larger than {TEXT_BYTES_MAX} bytes (1.5 MiB)")]
    if len(_DIRECTIVE.findall(text)) > _DIRECTIVES_MAX:
        return [], [YamlFault(1, 1, f"more than {_DIRECTIVES_MAX} YAML directives")]
    found: list[Document] = []
    faults: list[YamlFault] = []
    left = NODES_MAX
    for line, chunk in _chunks(text.removeprefix("\ufeff")):
        body = chunk.removeprefix("---").strip()
        if not body or (body[0] == "#" and "\n" not in body):
            continue
        composer = _Composer(line, faults, left - _DOCUMENT_COST)
        try:
            found.extend(composer.documents(chunk))
        except _Stop:
            pass
        except yaml.YAMLError as error:
            faults.append(_syntax(error, line, chunk))
        except ValueError:  # lone surrogates
            faults.append(YamlFault(line + 1, 1, "not valid Unicode"))
        left = composer.left
        if len(faults) >= _FAULTS_MAX or left < 0:
            break
    return found, faults[:_FAULTS_MAX]


_DIRECTIVE = re.compile(r"^%", re.MULTILINE)
_SEPARATOR = re.compile(r"^---(?=\s|\Z)", re.MULTILINE)


def _chunks(text: str) -> Iterator[tuple[int, str]]:
    """(lines before it, text) of each document; directives stay with the document that they belong to."""
    start = line = 0
    for mark in _SEPARATOR.finditer(text):
        chunk = text[start : mark.start()]
        if "%" in chunk and _prologue(chunk):
            continue
        yield line, chunk
        line += chunk.count("\n")
        start = mark.start()
    yield line, text[start:]


def _prologue(chunk: str) -> bool:
    return all(not line.strip() or line[0] in "%#" for line in chunk.splitlines())


def _syntax(error: yaml.YAMLError, line: int, chunk: str) -> YamlFault:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    problem = str(getattr(error, "problem", None) or getattr(error, "reason", None) or error)
    if mark and chunk[mark.index : mark.index + 1] == "\t":
        problem += " (YAML is indented with spaces)"
    context = getattr(error, "context", None)
    message = f"{problem}, {context}" if context and context not in problem else problem
    return YamlFault(line + mark.line + 1, mark.column + 1, message, True) if mark else YamlFault(line + 1, 1, message)


class _Stop(Exception):
    """The rest of this chunk is not worth reading; the fault is already recorded."""


class _Made(NamedTuple):
    """A finished value: what an anchor names and what goes into the collection around it."""

    value: object
    place: Place
    size: int  # values in it, aliases expanded


class _Frame:
    """A collection that is being read."""

    __slots__ = ("value", "place", "anchor", "size", "key", "line", "column", "merging", "merges")

    def __init__(self, value: dict[str, object] | list[object], place: Place, anchor: str | None) -> None:
        self.value = value
        self.place = place
        self.anchor = anchor
        self.size = 1
        self.key: str | None = None  # read, and its value is not yet there
        self.line = 0  # of the key
        self.column = 0
        self.merging = False  # the key is <<
        self.merges: list[_Made] = []


class _Composer:
    """Builds the documents of one chunk from libyaml's events."""

    def __init__(self, line: int, faults: list[YamlFault], left: int) -> None:
        self._line = line + 1
        self._faults = faults
        self._broken = False
        self.left = left  # values that may still be read

    def documents(self, text: str) -> Iterator[Document]:
        loader = yaml.CSafeLoader(text)
        stack: list[_Frame] = []
        anchors: dict[str, _Made | None] = {}
        top: _Made | None = None
        try:
            while (event := loader.get_event()) is not None:
                if isinstance(event, ScalarEvent):
                    value = self._scalar(event)
                    if stack and not event.anchor:  # nearly every event of a manifest ends here
                        self._add_scalar(stack[-1], value, event)
                        continue
                    made = _Made(value, self._place(event), 1)
                    if event.anchor:
                        anchors[event.anchor] = made
                elif isinstance(event, CollectionStartEvent):
                    self._open(event, stack, anchors)
                    continue
                elif isinstance(event, CollectionEndEvent):
                    made = self._close(stack, anchors)
                elif isinstance(event, AliasEvent):
                    made = self._alias(event, anchors)
                elif isinstance(event, DocumentEndEvent):
                    if top is not None and top.value is not None and not self._broken:
                        yield Document(top.value, top.place)
                    top, anchors, self._broken = None, {}, False
                    continue
                else:
                    continue
                if stack:
                    self._add(stack[-1], made, event)
                else:
                    top = made
        finally:
            loader.dispose()

    def _report(self, event: yaml.Event, message: str) -> None:
        place = self._place(event)
        self._fault(place.line, place.column, message)

    def _fault(self, line: int, column: int, message: str) -> None:
        self._broken = True
        self._faults.append(YamlFault(line, column, message))
        if len(self._faults) >= _FAULTS_MAX:
            raise _Stop

    def _spend(self, event: yaml.Event, nodes: int, what: str) -> None:
        self.left -= nodes
        if self.left < 0:
            self._report(event, f"{what}: more than {NODES_MAX} values")
            raise _Stop

    def _place(self, event: yaml.Event) -> Place:
        mark = event.start_mark
        assert mark is not None  # libyaml's events always have one
        return Place(self._line + mark.line, mark.column + 1)

    def _scalar(self, event: ScalarEvent) -> object:
        self.left -= 1
        if self.left < 0:
            self._spend(event, 0, "too large")
        text = event.value
        if event.tag is None or event.tag == "!":
            return resolve(text) if event.implicit[0] and (not text or text[0] in MAYBE) else text
        if event.tag not in TAGS:
            self._report(event, f"the tag {event.tag!r:.80} is not allowed")
            return text
        kinds = TAGS[event.tag]
        value: object = text if str in kinds else resolve(text)
        if float in kinds and type(value) is int:
            value = float(value)
        if type(value) not in kinds:
            self._report(event, f"{text!r:.60} is no {event.tag.rpartition(':')[2]}")
        return value

    def _open(self, event: CollectionStartEvent, stack: list[_Frame], anchors: dict[str, _Made | None]) -> None:
        self._spend(event, 1, "too large")
        if len(stack) >= DEPTH_MAX:
            self._report(event, f"nested deeper than {DEPTH_MAX}")
            raise _Stop
        if event.tag is not None and event.tag not in ("!", CORE + "map", CORE + "seq"):
            self._report(event, f"the tag {event.tag!r:.80} is not allowed")
        if stack and isinstance(stack[-1].value, dict) and stack[-1].key is None:
            self._report(event, "a key must be a string")
            raise _Stop
        mapping = isinstance(event, MappingStartEvent)
        place = self._place(event)
        place.entries = {} if mapping else []
        if event.anchor:
            anchors[event.anchor] = None  # an alias to it before it is complete would be a cycle
        stack.append(_Frame({} if mapping else [], place, event.anchor))

    def _close(self, stack: list[_Frame], anchors: dict[str, _Made | None]) -> _Made:
        frame = stack.pop()
        for merge in frame.merges:
            assert isinstance(frame.value, dict)
            assert isinstance(frame.place.entries, dict)
            assert isinstance(merge.value, dict)
            assert isinstance(merge.place.entries, dict)
            for key, value in merge.value.items():
                frame.value.setdefault(key, value)
                frame.place.entries.setdefault(key, merge.place.entries[key])
        made = _Made(frame.value, frame.place, frame.size)
        if frame.anchor:
            anchors[frame.anchor] = made
        return made

    def _alias(self, event: AliasEvent, anchors: dict[str, _Made | None]) -> _Made:
        assert event.anchor is not None
        made = anchors.get(event.anchor)
        if made is None:
            cycle = event.anchor in anchors
            self._report(event, f"the alias *{event.anchor:.60} {'contains itself' if cycle else 'has no anchor'}")
            raise _Stop
        self._spend(event, made.size, "alias expansion")
        return made

    def _add_scalar(self, frame: _Frame, value: object, event: ScalarEvent) -> None:
        """The fast half of `_add`: no anchor, no children."""
        if isinstance(frame.value, list):
            assert isinstance(frame.place.entries, list)
            frame.size += 1
            frame.value.append(value)
            frame.place.entries.append(self._place(event))
        elif frame.key is None:
            mark = event.start_mark
            assert mark is not None
            frame.key = value if type(value) is str else self._key(value, event)
            frame.line, frame.column = self._line + mark.line, mark.column + 1
            frame.merging = value == "<<" and event.implicit[0]
        elif frame.merging or frame.key in frame.value:
            self._add(frame, _Made(value, self._place(event), 1), event)
        else:
            assert isinstance(frame.place.entries, dict)
            frame.size += 1
            frame.value[frame.key] = value
            frame.place.entries[frame.key] = Place(frame.line, frame.column)
            frame.key = None

    def _add(self, frame: _Frame, made: _Made, event: yaml.Event) -> None:
        frame.size += made.size
        if isinstance(frame.value, list):
            assert isinstance(frame.place.entries, list)
            frame.value.append(made.value)
            frame.place.entries.append(made.place)
            return
        assert isinstance(frame.place.entries, dict)
        if frame.key is None:
            frame.key = made.value if isinstance(made.value, str) else self._key(made.value, event)
            place = self._place(event)
            frame.line, frame.column, frame.merging = place.line, place.column, False
            return
        key, frame.key = frame.key, None
        if frame.merging:
            self._merge(frame, made, event)
        elif key in frame.value:
            first = frame.place.entries[key].line
            self._fault(frame.line, frame.column, f"duplicate key {key!r:.60}, the first is in line {first}")
        else:
            entry = Place(frame.line, frame.column)
            entry.entries = made.place.entries
            frame.value[key] = made.value
            frame.place.entries[key] = entry

    def _key(self, value: object, event: yaml.Event) -> str:
        """JSON has string keys only: what is not one is written as Kubernetes' tools write it."""
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, int):
            return str(value)
        if isinstance(value, float) and isinstance(event, ScalarEvent):
            return str(event.value)
        self._report(event, "a key must be a string")
        raise _Stop

    def _merge(self, frame: _Frame, made: _Made, event: yaml.Event) -> None:
        listed = isinstance(made.value, list) and isinstance(made.place.entries, list)
        values = made.value if isinstance(made.value, list) else [made.value]
        places = made.place.entries if listed and isinstance(made.place.entries, list) else [made.place]
        for value, place in zip(values, places, strict=True):
            if not isinstance(value, dict) or not isinstance(place.entries, dict):
                self._report(event, "a merge (<<) takes a mapping or a list of mappings")
                return
            self._spend(event, len(value), "too large")
            frame.merges.append(_Made(value, place, 1))
