"""An event as the request that a subscriber or a dead-letter sink gets, and its answer as a reply.

Path: attempts.py → [deliver] → net/call.py → subscriber → [deliver] → store.

Binary whatever the mode it came in, unless the trigger asks for JSON. Everything that is the same for all events of a
trigger is joined once. The hop count stays with us: `knativebrokerttl` is taken off, `knativearrivaltime` is there.

Source: spec/eventing.md §7.7-7.10, §9.1, §9.3, §9.4, §10.5; reliability.md BR-13, BR-17.
"""

from typing import NamedTuple

from broker.admit import ARRIVAL, TTL, admit, arrival, passed_on
from broker.outcome import ERROR_DATA, Content
from broker.settings import BrokerSettings
from broker.store.contract import Record
from dataplane.errors import BadEvent, UnsupportedCoding
from dataplane.net.call import Call, Line, open_line
from dataplane.net.engine import Engine
from dataplane.resources.triggers import DeliveryPolicy, Target
from dataplane.wire.cloudevents import Event, decode_reply, encode_binary, encode_structured, with_attributes
from dataplane.wire.destination import parse
from dataplane.wire.headers import is_token

NAMES_MAX = 1024  # remembered header names
NAME_CHARS_MAX = 128  # of a remembered one

_TRACE = ("traceparent", "tracestate", "x-request-id")  # of a cause, for a reply that brings none
_FRAMING = ("host", "content-length", "content-type", "transfer-encoding", "connection")
_OURS = frozenset((*_FRAMING, "prefer", "kn-namespace", "x-dp-attempt"))

_names: dict[str, bytes] = {}  # a header that passes through → its name and colon; b"" = not sent


class Post:
    """How events are POSTed to one target, compiled once."""

    __slots__ = ("_encode", "_head", "_head_first", "_to_broker", "key", "line", "url")

    def __init__(
        self,
        engine: Engine,
        target: Target,
        policy: DeliveryPolicy,
        settings: BrokerSettings,
        *,
        namespace: str,
        asks: bool,
    ) -> None:
        """asks: for a reply (spec §9.1: not of dead-letter sinks). Raises ConfigFault: the URL, the certificates."""
        destination = parse(target.url)
        self.key = self.key_of(target, policy, asks)
        self.url = target.url
        self.line: Line = open_line(
            engine,
            destination,
            timeout_s=policy.timeout_s,
            answer_bytes_max=settings.reply_bytes_max,
            repeatable=True,  # at least once is what was promised
            cluster_local=settings.cluster_local_gateway or target.via,
            ca_certs=target.ca_certs,
        )
        self._to_broker = target.broker
        self._encode = encode_structured if policy.format == "json" else encode_binary
        prefer = b"prefer: reply\r\n" if asks else b""
        self._head = b"POST %b HTTP/1.1\r\nhost: %b\r\nkn-namespace: %b\r\n%bx-dp-attempt: " % (
            destination.target, destination.authority, namespace.encode(), prefer,
        )  # fmt: skip
        self._head_first = self._head + b"1\r\n"

    @staticmethod
    def key_of(target: Target, policy: DeliveryPolicy, asks: bool) -> tuple[object, ...]:
        """Equal for two that do the same."""
        return target, policy.timeout_s, policy.format, asks

    def request(self, record: Record, number: int, more: dict[str, str | int] | None = None) -> bytes:
        """Attempt `number`. more: attributes beside the event's own."""
        event = record.event
        attributes = event.attributes
        if self._to_broker or more is not None or TTL in attributes or ARRIVAL not in attributes:
            event = _dressed(record, more, tell_hops=self._to_broker)
        lines, body = self._encode(event)
        head = self._head_first if number == 1 else b"%b%d\r\n" % (self._head, number)
        if record.headers:
            lines += _passed_on(record.headers)
        return b"%b%bcontent-length: %d\r\n\r\n%b" % (head, lines, len(body), body)


class Reply(NamedTuple):
    """What an answer brought back. record: of an event, as it enters the broker, with one hop fewer than its cause."""

    content: Content
    record: Record | None = None
    message: str = ""


NO_REPLY = Reply("none")


def reply_of(answer: Call, cause: Record, now: float) -> Reply:
    """Of a 2xx. now: wall seconds."""
    if answer.too_large:
        return Reply("too large", message="the reply is larger than may be (setting broker.reply_bytes_max)")
    try:
        event = decode_reply(answer.fields, answer.body)
        if event is None:
            return NO_REPLY
        headers = passed_on(answer.fields)
        if TTL in event.attributes:
            event = with_attributes(event, {}, remove=(TTL,))  # whatever it says: the hops of its cause count
        if cause.headers:
            own = {name for name, _ in headers}
            headers += tuple((name, value) for name, value in cause.headers if name in _TRACE and name not in own)
        return Reply("event", admit(event, headers, now, cause.hops - 1))
    except UnsupportedCoding:
        return Reply("malformed", message="the reply has a Content-Encoding, which no subscriber would hear of")
    except BadEvent as error:
        return Reply("malformed", message=f"the reply is no CloudEvent: {error}")


def _dressed(record: Record, more: dict[str, str | int] | None, *, tell_hops: bool) -> Event:
    values: dict[str, str | int] = dict(more) if more is not None else {}
    if ARRIVAL not in record.event.attributes:
        values[ARRIVAL] = arrival(record.arrived_at)
    remove: tuple[str, ...] = (TTL,)
    if more is not None:
        remove = (TTL, ERROR_DATA)  # of an earlier failure: what it says is overwritten, or gone (spec §9.8)
    if tell_hops:
        values[TTL] = str(record.hops)
        remove = remove[1:]
    return with_attributes(record.event, values, remove=remove)


def _passed_on(headers: tuple[tuple[str, str], ...]) -> bytes:
    out = b""
    for name, value in headers:
        start = _names.get(name)
        if start is None:
            start = _learn(name)
        if start and "\r" not in value and "\n" not in value and "\0" not in value:
            out += b"%b%b\r\n" % (start, value.encode("latin-1", "replace"))
    return out


def _learn(name: str) -> bytes:
    """Stores may be written by others: no header of ours can be forged or doubled there."""
    lower = name.lower().encode("latin-1", "replace")
    start = b""
    if is_token(lower) and lower.decode() not in _OURS and not lower.startswith(b"ce-"):
        start = lower + b": "
    if len(_names) < NAMES_MAX and len(name) <= NAME_CHARS_MAX:
        _names[name] = start
    return start
