"""Wait until a resource is Ready and say what is still missing, in kn's manner.

Path: apply --wait, traffic, scale → [progress] → watch of one object → lines: `  0.033s The Route is still working …`.

Source: design/ecosystem.md §2.2 (kn progress), §3.2 (exit code 124).
"""

import json
import queue
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from dataplane.clock import SYSTEM, Clock
from launch.client import Client, Object, path_of
from launch.instance import Failure, TimedOut

if TYPE_CHECKING:
    from dataplane.resources.kinds import Kind

Say = Callable[[str], None]

FAILURE_GRACE_S = 2.0  # kn's error window: a Ready=False that heals within it was only on the way


def wait_ready(
    client: Client,
    kind: "Kind",
    namespace: str,
    name: str,
    *,
    timeout_s: float,
    say: Say,
    deadline: float | None = None,
    clock: Clock = SYSTEM,
) -> Object:
    """Returns the Ready object. Raises Failure when it fails for good, TimedOut (124) past `timeout_s`.

    `deadline`: of several waits that share one `timeout_s`, in `clock.monotonic` seconds.
    """
    started = clock.monotonic()
    deadline = started + timeout_s if deadline is None else deadline
    failing_since: float | None = None
    said = last = ""
    states = _States(client, kind, namespace, name)
    while True:
        now = clock.monotonic()
        if now >= deadline:
            raise TimedOut(
                f"{kind.singular} {name!r} was not ready within {timeout_s:g} s: {last or 'nothing has happened yet'}"
            )
        if failing_since is not None and now - failing_since >= FAILURE_GRACE_S:
            raise Failure(
                f"{kind.singular} {name!r} failed: {last}\n`dataplane describe {kind.singular}/{name}` says more"
            )
        until = deadline if failing_since is None else min(deadline, failing_since + FAILURE_GRACE_S)
        state = states.next(until - now)
        if state is None:
            continue
        verdict, last = judged(state)
        if verdict == "ready":
            say(f"{clock.monotonic() - started:7.3f}s Ready to serve.")
            return state
        failing_since = (failing_since or clock.monotonic()) if verdict == "failed" else None
        if last and last != said:
            said = last
            say(f"{clock.monotonic() - started:7.3f}s {last}")


def judged(state: Object) -> tuple[str, str]:
    """`ready`, `failed` or `waiting`, and the words for it. A status of an older generation says nothing yet."""
    status = state.get("status", {})
    if status.get("observedGeneration", 0) < state["metadata"].get("generation", 0):
        return "waiting", "The controller has not looked at the latest generation yet."
    conditions = {one["type"]: one for one in status.get("conditions", [])}
    ready = conditions.get("Ready", {})
    said = [one["message"] for one in conditions.values() if one.get("status") != "True" and one.get("message")]
    words = ready.get("message") or next(iter(said), "")
    if ready.get("status") == "True":
        return "ready", ""
    if ready.get("status") == "False":
        # "does not have any ready Revision" is Ready's; why not is said by the condition below it.
        return "failed", " ".join(dict.fromkeys([words, *said])).strip() or ready.get("reason", "not ready")
    return "waiting", words or _still_working(conditions)


def _still_working(conditions: dict[str, Object]) -> str:
    for type_, words in (
        ("ConfigurationsReady", "The Configuration is still working to reflect the latest desired specification."),
        ("RoutesReady", "The Route is still working to reflect the latest desired specification."),
    ):
        if conditions.get(type_, {}).get("status") != "True":
            return words
    return ""


class _States:
    """The object's states, read by a thread so that a deadline can interrupt the wait."""

    def __init__(self, client: Client, kind: "Kind", namespace: str, name: str) -> None:
        self._queue: queue.Queue[Object | Failure | None] = queue.Queue(1000)
        self._ask = (client, kind, namespace, name)
        threading.Thread(target=self._read, name="watch", daemon=True).start()

    def next(self, within_s: float) -> Object | None:
        """The next state; None when nothing came in time. Raises what the watch raised."""
        try:
            found = self._queue.get(timeout=max(0.0, within_s))
        except queue.Empty:
            return None
        if isinstance(found, Failure):
            raise found
        if found is None:
            raise Failure("the instance ended while we waited")
        return found

    def _read(self) -> None:
        try:
            for state in self._states():
                self._queue.put(state)
            self._queue.put(None)
        except Failure as error:
            self._queue.put(error)

    def _states(self) -> Iterator[Object]:
        client, kind, namespace, name = self._ask
        present = client.get(path_of(kind, namespace, name))
        yield present
        path = path_of(
            kind,
            namespace,
            watch="true",
            resourceVersion=present["metadata"].get("resourceVersion", ""),
            fieldSelector=f"metadata.name={name}",
        )
        for line in client.lines(path):
            event = json.loads(line)
            if event["type"] == "DELETED":
                raise Failure(f"{kind.singular} {name!r} was deleted while we waited")
            if event["type"] == "ERROR":
                raise Failure(str(event["object"].get("message", "the watch ended")))
            if event["type"] in ("ADDED", "MODIFIED"):
                yield event["object"]
