"""HTTP/1.1 heads and chunks → bytes. Sans-I/O.

Source: RFC 9112 §3 (request line), §4 (status line), §7.1 (chunked).
"""

from http import HTTPStatus

from dataplane.errors import DataplaneError
from dataplane.wire.headers import Headers, is_token

STATUS_LINE = {s.value: b"HTTP/1.1 %d %s\r\n" % (s.value, s.phrase.encode()) for s in HTTPStatus}
LAST_CHUNK = b"0\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def status_line(status: int) -> bytes:
    """Also for codes without a registered phrase."""
    return STATUS_LINE.get(status) or b"HTTP/1.1 %d \r\n" % status


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def response(status: int, headers: Headers, body: bytes, *, close: bool = False) -> bytes:
    """A whole response with a known body, as one write.

    Raises:
        ValueError: a header name is not a token, or a value holds CR, LF or NUL.
    """
    parts = [status_line(status)]
    for name, value in headers:
        if not is_token(name) or b"\r" in value or b"\n" in value or b"\0" in value:
            raise ValueError(f"unsendable header {name!r}")
        parts += (name, b": ", value, b"\r\n")
    if close:
        parts.append(b"connection: close\r\n")
    parts += (b"content-length: %d\r\n\r\n" % len(body), body)
    return b"".join(parts)


def failure(error: DataplaneError, *, head_only: bool = False, close: bool = True) -> bytes:
    """An error as a response: status, stable code in `x-dp-error`, `Retry-After` where waiting helps."""
    headers: Headers = [(b"x-dp-error", error.code.encode())]
    if error.retry_after_s is not None:
        headers.append((b"retry-after", b"%d" % error.retry_after_s))
    if error.not_processed:
        headers.append((b"x-dp-not-processed", b"true"))
    body = error.body
    if body:
        headers.append((b"content-type", b"text/plain; charset=utf-8"))
    whole = response(error.status, headers, body, close=close)
    return whole[: len(whole) - len(body)] if head_only and body else whole
