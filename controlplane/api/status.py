"""What went wrong, in Kubernetes' words: a `Status` object with code, reason, message and details.

Path: every handler → [status] → the client.

Handlers raise; exactly one place (`controlplane.api.guard.answers`) turns what was raised into bytes.

Source: Kubernetes apimachinery api/errors; spec/serving.md §5.1.
"""

from collections.abc import Iterable
from typing import Any

from aiohttp import web

from controlplane.store.contract import StoreFailed
from dataplane.resources.kinds import Kind

Cause = dict[str, str]  # reason, message, field


class ApiError(Exception):
    """`reason` is one of Kubernetes' words, which clients switch on."""

    def __init__(self, code: int, reason: str, message: str, details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details

    def body(self) -> dict[str, Any]:
        body: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
        }
        if self.details is not None:
            body["details"] = self.details
        return {**body, "code": self.code}


def success(kind: Kind, name: str, uid: str) -> dict[str, Any]:
    """What a delete answers when nothing is left to show."""
    details = {"name": name, "group": kind.group, "kind": kind.plural, "uid": uid}
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}


def resource(kind: Kind) -> str:
    """`services.serving.knative.dev`: how messages name a kind."""
    return f"{kind.plural}.{kind.group}" if kind.group else kind.plural


def _details(kind: Kind, name: str, causes: Iterable[Cause] = ()) -> dict[str, Any]:
    details: dict[str, Any] = {"name": name, "group": kind.group, "kind": kind.plural}
    if causes := list(causes):
        details["causes"] = causes
    return details


def not_found(kind: Kind, name: str) -> ApiError:
    return ApiError(404, "NotFound", f'{resource(kind)} "{name}" not found', _details(kind, name))


def no_such_resource() -> ApiError:
    return ApiError(404, "NotFound", "the server could not find the requested resource", {})


def no_such_method() -> ApiError:
    return ApiError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource", {})


def already_exists(kind: Kind, name: str) -> ApiError:
    return ApiError(409, "AlreadyExists", f'{resource(kind)} "{name}" already exists', _details(kind, name))


def conflict(kind: Kind, name: str, why: str = "") -> ApiError:
    """409 that a client answers by reading again (CP-03)."""
    why = why or "the object has been modified; please apply your changes to the latest version and try again"
    message = f'Operation cannot be fulfilled on {resource(kind)} "{name}": {why}'
    return ApiError(409, "Conflict", message, _details(kind, name))


def invalid(kind: Kind, name: str, causes: Iterable[Cause]) -> ApiError:
    """422. The message joins the causes in Kubernetes' way."""
    causes = list(causes)
    texts = [f"{cause['field']}: {cause['message']}" if cause.get("field") else cause["message"] for cause in causes]
    joined = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    about = f'{kind.kind}.{kind.group} "{name}"' if kind.group else f'{kind.kind} "{name}"'
    return ApiError(422, "Invalid", f"{about} is invalid: {joined}", _details(kind, name, causes))


def bad_request(message: str) -> ApiError:
    return ApiError(400, "BadRequest", message)


def forbidden(message: str) -> ApiError:
    return ApiError(403, "Forbidden", message)


def unauthorized() -> ApiError:
    return ApiError(401, "Unauthorized", "Unauthorized")


def gone(message: str) -> ApiError:
    return ApiError(410, "Expired", message)


def too_large(limit_bytes: int) -> ApiError:
    return ApiError(413, "RequestEntityTooLarge", f"Request entity too large: limit is {limit_bytes}")


def unsupported(content_type: str, accepted: Iterable[str]) -> ApiError:
    message = (
        f"the body of the request was in an unknown format ({content_type}) - accepted media types include: "
        f"{', '.join(accepted)}"
    )
    return ApiError(415, "UnsupportedMediaType", message)


def of(error: Exception) -> ApiError | None:
    """The Status of what a handler may raise; None for what is a bug."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, StoreFailed):
        return ApiError(500, "InternalError", f"Internal error occurred: the store failed: {error}")
    if isinstance(error, web.HTTPNotFound):
        return no_such_resource()
    if isinstance(error, web.HTTPMethodNotAllowed):
        return no_such_method()
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        return ApiError(413, "RequestEntityTooLarge", "Request entity too large")
    return None
