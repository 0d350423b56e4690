"""HTTP to the running instance, without aiohttp: a command must answer before its user notices.

Path: launch/commands/*.py → [client] → controlplane/api.

Errors come out as kubectl words them, `Error from server (NotFound): …`, as a Failure with exit code 1.
"""

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from dataplane.resources.kinds import Kind
from launch.instance import Failure, Instance, TimedOut, find

Object = dict[str, Any]

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
_ANSWER_S = 30.0


class ServerError(Failure):
    """The API said no. `reason` and `code` as in the Status object; `causes` of a refused apply: (index, message)."""

    def __init__(self, code: int, reason: str, message: str, causes: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(f"from server ({reason}): {message}" if reason else f"from server: {message}")
        self.code = code
        self.reason = reason
        self.causes = causes


class Client:
    """One instance's API. Every call opens its own connection: threads may share a Client."""

    def __init__(self, instance: Instance, *, answer_s: float = _ANSWER_S) -> None:
        self.instance = instance
        self._token = instance.token
        self._address = urlsplit(instance.api)
        self._answer_s = answer_s

    def get(self, path: str, *, accept: str = "application/json") -> Object:
        return self._json("GET", path, None, {"Accept": accept})

    def post(self, path: str, body: object) -> Object:
        return self._json("POST", path, json.dumps(body).encode(), {"Content-Type": "application/json"})

    def merge(self, path: str, body: object) -> Object:
        """PATCH with a JSON merge patch."""
        return self._json("PATCH", path, json.dumps(body).encode(), {"Content-Type": "application/merge-patch+json"})

    def delete(self, path: str) -> Object:
        return self._json("DELETE", path, None, {})

    def text(self, path: str) -> str:
        with_body = self._open("GET", path, None, {}, self._answer_s)
        try:
            return with_body[1].read().decode("utf-8", "replace")
        finally:
            with_body[0].close()

    def lines(self, path: str, *, accept: str = "application/json", silence_s: float | None = None) -> Iterator[bytes]:
        """Stream an endless answer line by line. Raises TimeoutError after `silence_s` without a byte."""
        connection, answer = self._open("GET", path, None, {"Accept": accept}, silence_s)
        try:
            while line := answer.readline():
                yield line
        except (http.client.HTTPException, ConnectionError):
            return  # the instance went away in the middle: the stream is over
        finally:
            connection.close()

    def _json(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Object:
        connection, answer = self._open(method, path, body, headers, self._answer_s)
        try:
            found: Object = json.loads(answer.read() or b"{}")
            return found
        except ValueError:
            raise Failure(f"{method} {path}: the answer is not JSON") from None
        finally:
            connection.close()

    def _open(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str], wait_s: float | None
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        connection = http.client.HTTPConnection(
            self._address.hostname or "127.0.0.1", self._address.port or 80, timeout=wait_s
        )
        try:
            connection.request(method, path, body, {"Authorization": f"Bearer {self._token}", **headers})
            answer = connection.getresponse()
        except TimeoutError:
            connection.close()
            raise TimedOut(f"the instance did not answer {method} {path} within {wait_s:g} s") from None
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            why = error or type(error).__name__
            raise Failure(
                f"the instance of {self.instance.data} does not answer at {self.instance.api}: {why}; "
                "`dataplane doctor` says more"
            ) from None
        if answer.status >= 300:
            text = answer.read()
            connection.close()
            raise _server_error(answer.status, text)
        return connection, answer


def connect(data: Path) -> Client:
    """A client of the instance that runs on `data`. Raises Failure saying what to do when none does."""
    return Client(find(data))


def path_of(kind: Kind, namespace: str | None, name: str = "", **query: object) -> str:
    """URL path of a list or an object; namespace None = all namespaces. Query values None are left out."""
    parts = ["/api/v1" if not kind.group else f"/apis/{kind.group}/{kind.version}"]
    if kind.namespaced and namespace is not None:
        parts.append(f"namespaces/{namespace}")
    parts.append(kind.plural)
    if name:
        parts.append(name)
    asked = {key: value for key, value in query.items() if value not in (None, "")}
    return "/".join(parts) + (f"?{urlencode(asked)}" if asked else "")


def _server_error(code: int, text: bytes) -> ServerError:
    try:
        status = json.loads(text)
        causes = (status.get("details") or {}).get("causes") or []
        told = tuple((str(one.get("field", "")), str(one.get("message", ""))) for one in causes)
        return ServerError(code, str(status.get("reason", "")), str(status["message"]), told)
    except (ValueError, KeyError, TypeError, AttributeError):
        return ServerError(code, "", f"HTTP {code}: {text[:500].decode('utf-8', 'replace')}")
