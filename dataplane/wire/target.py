"""The one form of a request target that is routed by and sent on. Pure.

Path: wire/http1_request.py, for the few targets that hold an escape or a dot segment.

    escapes        %2f → %2F; of an unreserved character → the character (%41 → A); none may be broken or %00
    dot segments   /a/./b → /a/b, /a/../b → /b, /../b → /b; also when the dots were escaped
    left alone     the query; //; every other byte

Empty segments stay: they are segments (RFC 3986 §3.3), and what to make of them is the app's.

Source: RFC 3986 §6.2.2 (case, percent-encoding, path segments), §5.2.4 (remove dot segments); reliability.md GW-19.
"""

import re

from dataplane.errors import BadRequest

_ESCAPE = re.compile(rb"%(?:([0-9A-Fa-f]{2}))?")
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


def normal_target(target: bytes) -> bytes:
    """Of an origin-form target (`/path?query`). Raises BadRequest("escape"): an escape that is none, or of NUL."""
    path, mark, query = target.partition(b"?")
    if b"%" in path:
        path = _ESCAPE.sub(_normal_escape, path)
    if b"/." in path:
        path = _without_dots(path)
    return path + mark + query


def _normal_escape(found: re.Match[bytes]) -> bytes:
    digits = found[1]
    if digits is None or (value := int(digits, 16)) == 0:
        raise BadRequest("escape")
    return bytes((value,)) if value in _UNRESERVED else b"%" + digits.upper()


def _without_dots(path: bytes) -> bytes:
    kept: list[bytes] = []
    segments = path.split(b"/")[1:]
    for segment in segments:
        if segment == b"..":
            if kept:
                kept.pop()
        elif segment != b".":
            kept.append(segment)
    if segments[-1] in (b".", b".."):
        kept.append(b"")  # what it named is a directory
    return b"/" + b"/".join(kept)
