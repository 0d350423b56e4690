"""Errors the data plane speaks, as one tree.

    DataplaneError                code, status, retry
    ├── ClientFault               the caller's doing: 4xx, never retried by us
    │   ├── BadRequest            400  malformed framing or header; `reason` says which rule
    │   ├── VersionNotSupported   505
    │   ├── NotImplementedCoding  501  a well-formed transfer coding that we do not speak
    │   ├── MethodNotImplemented  501  a method that nobody has registered
    │   ├── MethodNotAllowed      405  CONNECT
    │   ├── ExpectationFailed     417
    │   ├── TargetTooLong         414
    │   ├── HeadersTooLarge       431
    │   ├── BodyTooLarge          413
    │   ├── RequestTimeout        408  the client did not finish its head or body in time
    │   ├── NoRoute               404  no revision answers this host and path
    │   ├── NoBroker              404  no broker of this name
    │   ├── BadEvent              400  no sound CloudEvent; `reason` says which rule
    │   ├── HopsExhausted         400  an event that went around too often
    │   ├── UnsupportedFormat     415  a CloudEvent in another format than JSON
    │   ├── UnsupportedCoding     415  an event's body in a Content-Encoding
    │   └── ClientGone            499  nobody left to answer; metrics only
    ├── Overloaded                we chose not to serve: 503 + Retry-After
    │   ├── QueueFull             503  more waiters than depth_max, or their bytes over the bound
    │   ├── QueueTimeout          504  waited longer than the revision allows
    │   ├── TooManyConnections    503
    │   ├── RateLimited           429  a broker's rate
    │   ├── AppendingFull         503  too many bytes received and not durable yet
    │   ├── BrokerNotReady        503  a broker whose log is not open yet
    │   └── Draining              503  this process is going away
    ├── UpstreamFault             the pod's doing
    │   ├── NoCapacity            503  the revision cannot serve (failed, or nobody scales it)
    │   ├── ConnectFailed         502  no byte was sent
    │   ├── UpstreamReset         502  the connection died before a response byte
    │   ├── UpstreamTruncated     502  … or in the middle of the response (the client's connection is cut)
    │   ├── UpstreamTimeout       504
    │   └── UpstreamProtocol      502  what came back is not HTTP
    ├── StoreFault                an event store cannot keep its promise now: 503 + Retry-After, nothing was accepted
    │   ├── StoreUnavailable      away, restarting, or too slow
    │   ├── StoreFull             disk, quota or memory
    │   ├── BadPosition           400  what a person wrote is no position of this log
    │   ├── AppendTimeout         it did not say in time that an event is durable; it may become so
    │   └── EventTooLarge         413  this store takes no event of that size
    └── ConfigFault               found while loading; never raised on the data path

A programming error is not in this tree: it is an AssertionError, and it may end the connection, never the process.
Clients see `code` in the response header `x-dp-error`.
"""

from typing import ClassVar


class DataplaneError(Exception):
    """Base. Subclasses are declared, not computed: code, status and body are data."""

    code: ClassVar[str] = "internal"  # stable; in metrics, logs and x-dp-error
    status: ClassVar[int] = 500
    retry_after_s: ClassVar[int | None] = None  # sent as Retry-After
    body: ClassVar[bytes] = b""  # text/plain when not empty
    not_processed: ClassVar[bool] = False  # the request was not looked at: whoever sent it may send it elsewhere


class ClientFault(DataplaneError):
    code, status = "client_fault", 400


class BadRequest(ClientFault):
    """400. `reason` is one of a fixed set of words and labels the rejection counter."""

    code = "bad_request"

    def __init__(self, reason: str = "syntax") -> None:
        super().__init__(reason)
        self.reason = reason


class VersionNotSupported(ClientFault):
    code, status = "version_not_supported", 505


class NotImplementedCoding(ClientFault):
    code, status = "transfer_coding_not_implemented", 501


class MethodNotImplemented(ClientFault):
    code, status = "method_not_implemented", 501


class MethodNotAllowed(ClientFault):
    code, status = "method_not_allowed", 405


class ExpectationFailed(ClientFault):
    code, status = "expectation_failed", 417


class TargetTooLong(ClientFault):
    code, status = "target_too_long", 414


class HeadersTooLarge(ClientFault):
    code, status = "headers_too_large", 431


class BodyTooLarge(ClientFault):
    code, status = "body_too_large", 413


class RequestTimeout(ClientFault):
    code, status = "request_timeout", 408


class NoRoute(ClientFault):
    code, status = "no_route", 404


class NoBroker(ClientFault):
    code, status = "no_broker", 404


class HopsExhausted(ClientFault):
    code = "hops_exhausted"


class BadEvent(ClientFault):
    """400. `reason` is one of a fixed set of words, `message` is for people, `index` counts within a batch from 0."""

    code = "bad_event"

    def __init__(self, reason: str, message: str, index: int | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.index = index


class UnsupportedFormat(ClientFault):
    code, status = "unsupported_event_format", 415


class UnsupportedCoding(ClientFault):
    code, status = "unsupported_content_coding", 415


class ClientGone(ClientFault):
    code, status = "client_gone", 499


class Overloaded(DataplaneError):
    code, status, retry_after_s = "overloaded", 503, 1


class QueueFull(Overloaded):
    code, body = "queue_full", b"pending request queue full\n"


class QueueTimeout(Overloaded):
    code, status, body = "queue_timeout", 504, b"activator request timeout"


class TooManyConnections(Overloaded):
    code = "too_many_connections"


class RateLimited(Overloaded):
    code, status = "rate_limited", 429


class AppendingFull(Overloaded):
    code = "appending_full"


class BrokerNotReady(Overloaded):
    code = "broker_not_ready"


class Draining(Overloaded):
    code, body, not_processed = "draining", b"shutting down\n", True


class UpstreamFault(DataplaneError):
    code, status = "upstream_fault", 502


class NoCapacity(UpstreamFault):
    code, status, retry_after_s = "no_capacity", 503, 1


class ConnectFailed(UpstreamFault):
    code = "connect_failed"


class UpstreamReset(UpstreamFault):
    code = "upstream_reset"


class UpstreamTruncated(UpstreamFault):
    code = "upstream_truncated"


class UpstreamTimeout(UpstreamFault):
    code, status, body = "upstream_timeout", 504, b"request timeout"


class UpstreamProtocol(UpstreamFault):
    code = "upstream_protocol"


class StoreFault(DataplaneError):
    """An event store could not do what it was asked. The message says why; nothing may be assumed to have happened."""

    code, status = "store_fault", 503
    retry_after_s: ClassVar[int | None] = 1


class StoreUnavailable(StoreFault):
    code = "store_unavailable"


class StoreFull(StoreFault):
    code, retry_after_s = "store_full", 5


class BadPosition(StoreFault):
    """What a person wrote is no position of this log. The message says what one looks like."""

    code, status, retry_after_s = "bad_position", 400, None


class AppendTimeout(StoreFault):
    code = "append_timeout"


class EventTooLarge(StoreFault):
    """The store will never take this event, however often it is sent."""

    code, status, retry_after_s = "event_too_large", 413, None


class ConfigFault(DataplaneError):
    """Found while loading settings, a snapshot file or a manifest. The message says where and what would be right."""

    code = "config"
