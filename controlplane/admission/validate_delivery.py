"""Destination, KReference and DeliverySpec: the parts that every sender has. Pure.

Path: validate_eventing.py → [validate_delivery] → iso8601.py.

Source: spec/eventing.md §10.1–10.3, §10.5, Appendix B.
"""

from collections.abc import Iterator
from urllib.parse import urlsplit

from controlplane.admission.fielderror import FieldError, invalid, missing, other, under
from controlplane.iso8601 import duration_s
from dataplane.resources.eventing import DeliverySpec, Destination, KReference

RETRY_MAX = 2**31 - 1


def reference(one: KReference) -> Iterator[FieldError]:
    for path, value in (("name", one.name), ("apiVersion", one.api_version), ("kind", one.kind)):
        if not value:
            yield missing(path)


def destination(one: Destination) -> Iterator[FieldError]:
    absolute = is_absolute(one.uri)
    if one.ref is None:
        if not one.uri:
            yield missing("ref", "uri")
        elif not absolute:
            yield invalid(one.uri, "uri", "Relative URI is not allowed when Ref and [apiVersion, kind, name] is absent")
    else:
        yield from under("ref", reference(one.ref))
        if absolute:
            message = "Absolute URI is not allowed when Ref or [apiVersion, kind, name] is present"
            yield other(message, "[apiVersion, kind, name]", "ref", "uri")
    if one.uri and (wrong := _unusable(one.uri, absolute=absolute)):
        yield invalid(one.uri, "uri", wrong)


def is_absolute(uri: str) -> bool:
    try:
        return bool(urlsplit(uri).scheme)
    except ValueError:
        return False


def _unusable(uri: str, *, absolute: bool) -> str:
    if not uri.isascii() or not uri.isprintable() or " " in uri:
        return "characters outside of a URI: percent-encode them"
    try:
        parts = urlsplit(uri)
        port = parts.port
    except ValueError as fault:
        return str(fault)
    if absolute and (parts.scheme.lower() not in ("http", "https") or not parts.hostname):
        return "an http or https URL with a host is needed"
    return "the port must be 1 to 65535" if port == 0 else ""


def delivery(spec: DeliverySpec) -> Iterator[FieldError]:
    if spec.dead_letter_sink is not None:
        yield from under("deadLetterSink", destination(spec.dead_letter_sink))
    if spec.retry is not None and not 0 <= spec.retry <= RETRY_MAX:
        yield invalid(spec.retry, "retry")
    if spec.backoff_policy not in ("", "linear", "exponential"):
        yield invalid(spec.backoff_policy, "backoffPolicy", "linear or exponential")
    if spec.format not in ("", "json", "binary"):
        yield invalid(spec.format, "format", "json or binary")
    yield from _duration(spec.backoff_delay, "backoffDelay")
    yield from _duration(spec.retry_after_max, "retryAfterMax")
    yield from _duration(spec.timeout, "timeout", zero=False)


def _duration(text: str, path: str, *, zero: bool = True) -> Iterator[FieldError]:
    if not text:
        return
    try:
        seconds = duration_s(text)
    except ValueError as fault:
        yield invalid(text, path, str(fault))
        return
    if not zero and seconds == 0:
        yield invalid(text, path, "it must be longer than nothing")
