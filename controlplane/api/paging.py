"""Lists in pieces: `limit` and `continue`. Pure.

The token holds where to go on and the version of the first page. Later pages show the present, not the past; but each
says the first page's resourceVersion, so that a watch from there hears of everything that changed in between.

Source: Kubernetes API concepts, "Retrieving large results sets in chunks".
"""

import base64
from typing import Any

import msgspec

from controlplane.api.status import bad_request
from dataplane.resources.meta import Resource


class _Token(msgspec.Struct, frozen=True):
    revision: int
    namespace: str
    name: str


def page(objects: list[Resource], limit: str, token: str, revision: int) -> tuple[list[Resource], dict[str, Any]]:
    """The page (objects are in order of namespace and name) and the list's metadata. Raises ApiError 400."""
    if not (limit or "0").isdecimal() or len(limit) > 18:
        raise bad_request("limit is a number")
    if token:
        try:
            after = msgspec.json.decode(base64.urlsafe_b64decode(token), type=_Token)
        except (ValueError, msgspec.DecodeError) as error:
            raise bad_request("continue key is not valid") from error
        revision = after.revision
        objects = [
            one for one in objects if (one.metadata.namespace, one.metadata.name) > (after.namespace, after.name)
        ]
    meta: dict[str, Any] = {"resourceVersion": str(revision)}
    most = int(limit or 0)
    if most and len(objects) > most:
        last = objects[most - 1].metadata
        encoded = msgspec.json.encode(_Token(revision, last.namespace, last.name))
        meta["continue"] = base64.urlsafe_b64encode(encoded).decode()
        meta["remainingItemCount"] = len(objects) - most
        objects = objects[:most]
    return objects, meta
