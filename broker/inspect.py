"""What people ask a broker, over HTTP: its events, what happened to one, what was given up; and replay and redrive.

Path: `dataplane events …` → the API or admin application → [inspect] → service.py, journal.py, store.

    GET  PREFIX/brokers                                            all, with sizes and triggers' lag
    GET  PREFIX/brokers/NS/NAME/events?start=&limit=               on the log, oldest first
    GET  PREFIX/brokers/NS/NAME/tail[?recent=N]                    facts as JSON lines, as they happen
    GET  PREFIX/brokers/NS/NAME/trace/ID[?source=]                 what happened to this event
    POST PREFIX/brokers/NS/NAME/forget                             {"trigger": UID} that no snapshot has any more
    GET  PREFIX/triggers/NS/NAME/letters?kept=&after=&limit=       parked or dead-lettered
    POST PREFIX/triggers/NS/NAME/{redrive|discard}                 {"kept": …, "ids": […] | null}
    POST PREFIX/triggers/NS/NAME/replay                            {"start": …}

Not hot: aiohttp. Event data is shown as text or base64, cut at DATA_SHOWN_BYTES.

Source: spec/eventing.md §29.4; issue "Eventing core" (replay, redrive, tail, trace).
"""

import asyncio
import base64
from collections.abc import Awaitable
from typing import Literal, TypeVar

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler

from broker.journal import Fact, Journal
from broker.keep import Running
from broker.service import BrokerService
from broker.store.contract import EventLog, Letter, Record, Start, Stored
from broker.wanted import start_of, uid
from dataplane.clock import rfc3339_micro
from dataplane.errors import BadPosition, StoreFault

PREFIX = "/dataplane/v1/eventing"
BODY_BYTES_MAX = 1024 * 1024
LIMIT_MAX = 1000
DATA_SHOWN_BYTES = 64 * 1024
TAIL_WAITING_MAX = 10_000  # facts for one follower that reads slower than they happen; beyond it they are counted
TAILS_MAX = 64
HEARTBEAT_S = 15.0

Kept = Literal["parked", "dead-lettered"]
V = TypeVar("V")


class _Chosen(msgspec.Struct, forbid_unknown_fields=True):
    kept: Kept = "parked"
    ids: list[str] | None = None


class _Replay(msgspec.Struct, forbid_unknown_fields=True):
    start: str


class _Forget(msgspec.Struct, forbid_unknown_fields=True):
    trigger: str


class Inspect:
    """`routes` for an application with a guard of its own; `close` before its shutdown."""

    def __init__(self, *, service: BrokerService, journal: Journal) -> None:
        self._service = service
        self._journal = journal
        self._tails: set[asyncio.Event] = set()
        self._ending = False

    def routes(self) -> list[web.RouteDef]:
        broker, trigger = f"{PREFIX}/brokers/{{namespace}}/{{name}}", f"{PREFIX}/triggers/{{namespace}}/{{name}}"
        routes = [
            web.get(f"{PREFIX}/brokers", self._brokers),
            web.get(f"{broker}/events", self._events),
            web.get(f"{broker}/tail", self._tail),
            web.get(f"{broker}/trace/{{id:.+}}", self._trace),
            web.post(f"{broker}/forget", self._forget),
            web.get(f"{trigger}/letters", self._letters),
            web.post(f"{trigger}/redrive", self._redrive),
            web.post(f"{trigger}/discard", self._discard),
            web.post(f"{trigger}/replay", self._replay),
        ]
        return [web.RouteDef(one.method, one.path, _answering(one.handler), one.kwargs) for one in routes]

    async def close(self) -> None:
        self._ending = True
        for wake in self._tails:
            wake.set()

    # ---- brokers ---------------------------------------------------------------------------------

    async def _brokers(self, _: web.Request) -> web.Response:
        out = []
        for key in sorted(self._service.keys()):
            log = self._service.log(key)
            records, size_bytes = log.size() if log is not None else (0, 0)
            triggers = {
                name: running.subscription.lag()._asdict()
                for name, running in sorted(self._service.triggers(key).items())
            }
            out.append(
                {
                    "broker": key,
                    "open": log is not None,
                    "records": records,
                    "bytes": size_bytes,
                    "triggers": triggers,
                    "uids": sorted(map(uid, self._service.wanted(key).values())),
                }
            )
        return _json({"brokers": out})

    async def _events(self, request: web.Request) -> web.Response:
        log = self._log(request)
        found = await _asked(log.read(_start(request.query.get("start", "latest")), limit=_limit(request)))
        return _json({"events": [_stored(one) for one in found]})

    async def _trace(self, request: web.Request) -> web.Response:
        key, id_, source = _key(request), request.match_info["id"], request.query.get("source", "")
        stored = await _asked(self._log(request).find(id_, source=source))
        facts = [_fact(fact) for fact in self._journal.about(key, id_, source)]
        letters = []
        for name, running in self._service.triggers(key).items():
            found = await _asked(running.subscription.letters(limit=LIMIT_MAX))
            letters += [{"trigger": name, **_letter(one)} for one in found if _is(one.record, id_, source)]
        if not stored and not facts and not letters:
            raise _Refused(404, f"no event {id_!r} on broker {key}, as far as it looks back")
        return _json({"events": [_stored(one) for one in stored], "facts": facts, "letters": letters})

    async def _tail(self, request: web.Request) -> web.StreamResponse:
        key = _key(request)
        self._log(request)
        if len(self._tails) >= TAILS_MAX:
            raise _Refused(503, f"{TAILS_MAX} followers are connected already")
        waiting = [_line(fact) for fact in self._journal.recent(key, _limit(request, "recent", 0))]
        missed = 0
        wake = asyncio.Event()

        def follow(fact: Fact) -> None:
            nonlocal missed
            if fact.broker != key:
                return
            if len(waiting) >= TAIL_WAITING_MAX:
                missed += 1
            else:
                waiting.append(_line(fact))
            wake.set()

        stop = self._journal.follow(follow)
        self._tails.add(wake)
        answer = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        try:
            await answer.prepare(request)
            while not self._ending:
                batch = b"".join(waiting)
                waiting.clear()
                if missed:
                    batch += msgspec.json.encode({"what": "missed", "count": missed}) + b"\n"
                    missed = 0
                await answer.write(batch or b"\n")  # an empty line now and then tells a dead follower
                wake.clear()
                try:
                    async with asyncio.timeout(HEARTBEAT_S):
                        await wake.wait()
                except TimeoutError:
                    pass
        except ConnectionError:
            pass
        finally:
            stop()
            self._tails.discard(wake)
        return answer

    async def _forget(self, request: web.Request) -> web.Response:
        """What a trigger that was deleted while no broker process looked has left: it holds the log."""
        log, gone = self._log(request), (await _body(request, _Forget)).trigger
        key = _key(request)
        if any(uid(one) == gone for one in self._service.wanted(key).values()):
            raise _Refused(400, f"a trigger of broker {key} has the uid {gone!r}: delete the Trigger")
        await _asked(log.forget(gone))
        return _json({"forgotten": gone})

    # ---- triggers ----------------------------------------------------------------------------------

    async def _letters(self, request: web.Request) -> web.Response:
        running = self._running(request)
        kept = request.query.get("kept", "parked")
        if kept not in ("parked", "dead-lettered", "all"):
            raise _Refused(400, f"kept={kept!r}: expected parked, dead-lettered or all")
        which: Kept | None = None if kept == "all" else "parked" if kept == "parked" else "dead-lettered"
        found = await _asked(
            running.subscription.letters(kept=which, after=request.query.get("after", ""), limit=_limit(request))
        )
        return _json({"letters": [_letter(one) for one in found]})

    async def _redrive(self, request: web.Request) -> web.Response:
        running, chosen = self._running(request), await _body(request, _Chosen)
        return _json({"redriven": await _asked(running.subscription.redrive(chosen.ids, kept=chosen.kept))})

    async def _discard(self, request: web.Request) -> web.Response:
        running, chosen = self._running(request), await _body(request, _Chosen)
        return _json({"discarded": await _asked(running.subscription.discard(chosen.ids, kept=chosen.kept))})

    async def _replay(self, request: web.Request) -> web.Response:
        running, wanted = self._running(request), await _body(request, _Replay)
        start = _start(wanted.start)
        await _asked(running.subscription.seek(start))
        return _json({"start": wanted.start})

    # ---- helpers -------------------------------------------------------------------------------------

    def _log(self, request: web.Request) -> EventLog:
        key = _key(request)
        log = self._service.log(key)
        if log is None:
            if self._service.known(key):
                raise _Refused(503, f"broker {key} is not open yet")
            raise _Refused(404, f"no broker {key}")
        return log

    def _running(self, request: web.Request) -> Running:
        key = _key(request)
        running = self._service.trigger(key)
        if running is None:
            raise _Refused(404, f"no trigger {key} runs here")
        return running


class _Refused(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def _answering(handler: Handler) -> Handler:
    """What is refused is answered as a Kubernetes Status, whatever application the routes are in."""

    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except _Refused as refused:
            reason = {400: "BadRequest", 404: "NotFound", 413: "RequestEntityTooLarge"}.get(
                refused.status, "ServiceUnavailable"
            )
            body = {"kind": "Status", "status": "Failure", "reason": reason, "message": str(refused)}
            return _json({**body, "code": refused.status}, status=refused.status)

    return answer


async def _asked(work: Awaitable[V]) -> V:
    try:
        return await work
    except BadPosition as fault:
        raise _Refused(fault.status, f"{fault}; or latest, earliest, a time like 2026-01-31T12:00:00Z") from None
    except StoreFault as fault:
        raise _Refused(fault.status, str(fault) or fault.code) from None


async def _body(request: web.Request, type_: type[V]) -> V:
    body = b""
    async for piece in request.content.iter_any():
        body += piece
        if len(body) > BODY_BYTES_MAX:
            raise _Refused(413, f"at most {BODY_BYTES_MAX} bytes")
    try:
        return msgspec.json.decode(body or b"{}", type=type_)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise _Refused(400, str(error)) from None


def _key(request: web.Request) -> str:
    return f"{request.match_info['namespace']}/{request.match_info['name']}"


def _start(text: str) -> Start:
    try:
        if not text:
            raise ValueError
        return start_of(text)
    except ValueError:
        raise _Refused(
            400, f"start {text!r}: expected latest, earliest, an RFC 3339 time with a zone, or a position"
        ) from None


def _limit(request: web.Request, name: str = "limit", default: int = 100) -> int:
    text = request.query.get(name, str(default))
    if not text.isascii() or not text.isdigit() or len(text) > 9 or int(text) > LIMIT_MAX:
        raise _Refused(400, f"{name}={text!r}: expected a number up to {LIMIT_MAX}")
    return int(text)


def _stored(one: Stored) -> dict[str, object]:
    return {"position": one.position, **_record(one.record)}


def _record(record: Record) -> dict[str, object]:
    data = record.event.data
    out: dict[str, object] = {"arrivedAt": rfc3339_micro(record.arrived_at), "attributes": record.event.attributes}
    if data is not None:
        shown = data[:DATA_SHOWN_BYTES]
        try:
            out["data"] = shown.decode()
        except UnicodeDecodeError:
            out["dataBase64"] = base64.b64encode(shown).decode()
        out["bytes"] = len(data)
    return out


def _letter(letter: Letter) -> dict[str, object]:
    failure = letter.failure
    return {
        "id": letter.id,
        "kept": letter.kept,
        "position": letter.position,
        "reason": failure.reason,
        "code": failure.code,
        "dest": failure.dest,
        "message": failure.message,
        "answer": failure.data.decode("utf-8", "replace"),
        "attempts": failure.attempts,
        "at": rfc3339_micro(failure.at),
        "event": _record(letter.record),
    }


def _fact(fact: Fact) -> dict[str, object]:
    return {**fact._asdict(), "at": rfc3339_micro(fact.at)}


def _line(fact: Fact) -> bytes:
    return msgspec.json.encode(_fact(fact)) + b"\n"


def _is(record: Record, id_: str, source: str) -> bool:
    return record.event.id == id_ and source in ("", record.event.source)


def _json(body: object, *, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(body), status=status, content_type="application/json")
