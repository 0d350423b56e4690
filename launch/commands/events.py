"""`dataplane events`: what a broker holds, what happens to its events, and what to do with those it gave up."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from launch.options import Seconds, data_option, namespace_option

if TYPE_CHECKING:
    from launch.client import Client, Object

PREFIX = "/dataplane/v1/eventing"
ANSWER_MAX = 120  # characters of what a subscriber answered that a table shows
_output = click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text")
_kept = click.option("--dead-lettered", is_flag=True, help="Those that a dead-letter sink got, instead of parked ones.")


@click.group(short_help="Look at events: tail, trace, parked, redrive, replay.")
def command() -> None:
    """Look at the events of a broker and of its triggers.

    \b
    dataplane events tail broker/default              # each event, the triggers it matched, each delivery
    dataplane events trace broker/default ID          # what happened to this one
    dataplane events parked trigger/billing           # what was given up
    dataplane events redrive trigger/billing          # … and try it again
    dataplane events replay trigger/billing --from earliest
    dataplane events forget broker/default            # what triggers have left that are not there any more
    dataplane events scrub                            # are the files sound?
    """


@command.command()
@namespace_option
@data_option
def brokers(namespace: str, data: Path) -> int:
    """Brokers with what they hold, and how far behind their triggers are."""
    from launch.tables import aligned

    rows = [("BROKER", "TRIGGER", "EVENTS", "WAITING", "IN FLIGHT", "SCHEDULED", "PARKED", "DEAD-LETTERED")]
    for one in _client(data).get(f"{PREFIX}/brokers")["brokers"]:
        rows.append((one["broker"], "", str(one["records"]), "", "", "", "", ""))
        for name, lag in one["triggers"].items():
            figures = (lag[word] for word in ("waiting", "in_flight", "scheduled", "parked", "dead_lettered"))
            rows.append(("", name, "", *(str(figure) for figure in figures)))
    click.echo("\n".join(aligned(rows)))
    return 0


@command.command("list")
@click.argument("broker")
@namespace_option
@data_option
@click.option("--from", "start", default="latest", help="latest (default), earliest, an RFC 3339 time, or a position.")
@click.option("--limit", default=20, help="At most this many (default 20).")
@_output
def list_(broker: str, namespace: str, data: Path, start: str, limit: int, output: str) -> int:
    """Events on the log of BROKER, oldest first."""
    from launch.tables import aligned

    path = _path("brokers", _name(broker, "Broker"), namespace, "events", start=start, limit=limit)
    found = _client(data).get(path)["events"]
    if output == "json":
        return _json(found)
    rows = [("POSITION", "ARRIVED", "ID", "TYPE", "SOURCE", "SUBJECT", "BYTES")]
    for one in found:
        a = one["attributes"]
        what = (*map(_plain, (a["id"], a["type"], a["source"], a.get("subject", ""))), str(one.get("bytes", 0)))
        rows.append((one["position"], one["arrivedAt"], *what))
    click.echo("\n".join(aligned(rows)))
    return 0


@command.command()
@click.argument("broker")
@namespace_option
@data_option
@click.option("--recent", default=10, help="Begin with this many past facts (default 10).")
@click.option("--for", "for_s", type=Seconds(zero=False), default=None, help="End after this long, e.g. 30s.")
@_output
def tail(broker: str, namespace: str, data: Path, recent: int, for_s: float | None, output: str) -> int:
    """Follow BROKER: every event, the triggers it matched, each delivery and its outcome. Ends with Ctrl-C.

    Exit code 1 when the instance goes away.
    """
    import json
    import time

    from launch.instance import Failure

    path = _path("brokers", _name(broker, "Broker"), namespace, "tail", recent=recent)
    client = _client(data)
    until = time.monotonic() + for_s if for_s is not None else None  # noqa: TID251 - a command has no loop
    try:
        for line in client.lines(path, silence_s=for_s):
            if line.strip():
                fact = json.loads(line)
                click.echo(line.decode().strip() if output == "json" else _told(fact))
            if until is not None and time.monotonic() >= until:  # noqa: TID251
                return 0
    except TimeoutError:
        return 0
    raise Failure("the instance has gone away")


@command.command()
@click.argument("broker")
@click.argument("id_", metavar="ID")
@namespace_option
@data_option
@click.option("--source", default="", help="Of the event, when several have this id.")
@_output
def trace(broker: str, id_: str, namespace: str, data: Path, source: str, output: str) -> int:
    """What happened to the event ID of BROKER: accepted, matched, each attempt, the outcome."""
    from urllib.parse import quote

    found = _client(data).get(
        _path("brokers", _name(broker, "Broker"), namespace, f"trace/{quote(id_, safe='')}", source=source)
    )
    if output == "json":
        return _json(found)
    for one in found["events"]:
        a = one["attributes"]
        click.echo(f"event {a['id']} of {a['source']}, type {a['type']}: at {one['position']} since {one['arrivedAt']}")
    for fact in found["facts"]:
        click.echo(_told(fact))
    for letter in found["letters"]:
        click.echo(f"{letter['kept']} for {letter['trigger']}: {_why(letter)}")
    return 0


@command.command()
@click.argument("trigger")
@namespace_option
@data_option
@_kept
@click.option("--after", default="", help="Only letters after this id.")
@click.option("--limit", default=100, help="At most this many (default 100).")
@_output
def parked(trigger: str, namespace: str, data: Path, dead_lettered: bool, after: str, limit: int, output: str) -> int:
    """Events that could not be delivered to TRIGGER and had no dead-letter sink that took them."""
    from launch.tables import aligned

    kept = "dead-lettered" if dead_lettered else "parked"
    path = _path("triggers", _name(trigger, "Trigger"), namespace, "letters", kept=kept, after=after, limit=limit)
    found = _client(data).get(path)["letters"]
    if output == "json":
        return _json(found)
    if not found:
        click.echo(f"nothing is {kept}")
        return 0
    rows = [("LETTER", "AT", "ID", "TYPE", "ATTEMPTS", "WHY")]
    for one in found:
        a = one["event"]["attributes"]
        rows.append((one["id"], one["at"], _plain(a["id"]), _plain(a["type"]), str(one["attempts"]), _why(one)))
    click.echo("\n".join(aligned(rows)))
    return 0


@command.command()
@click.argument("trigger")
@click.argument("letters", nargs=-1)
@namespace_option
@data_option
@_kept
def redrive(trigger: str, letters: tuple[str, ...], namespace: str, data: Path, dead_lettered: bool) -> int:
    """Deliver LETTERS (default: all) of TRIGGER again, as if for the first time."""
    body = {"kept": "dead-lettered" if dead_lettered else "parked", "ids": list(letters) or None}
    count = _client(data).post(_path("triggers", _name(trigger, "Trigger"), namespace, "redrive"), body)["redriven"]
    return _counted(count, letters, "redriven")


@command.command()
@click.argument("trigger")
@click.argument("letters", nargs=-1)
@namespace_option
@data_option
@_kept
@click.option("--all", "all_", is_flag=True, help="Every one; without it LETTERS must be named.")
def discard(trigger: str, letters: tuple[str, ...], namespace: str, data: Path, dead_lettered: bool, all_: bool) -> int:
    """Forget LETTERS of TRIGGER for good."""
    if bool(letters) == all_:
        raise click.UsageError("name the letters to forget, or say --all")
    body = {"kept": "dead-lettered" if dead_lettered else "parked", "ids": list(letters) or None}
    count = _client(data).post(_path("triggers", _name(trigger, "Trigger"), namespace, "discard"), body)["discarded"]
    return _counted(count, letters, "discarded")


@command.command()
@click.argument("trigger")
@click.option("--from", "start", required=True, help="earliest, latest, an RFC 3339 time, or a position.")
@namespace_option
@data_option
def replay(trigger: str, start: str, namespace: str, data: Path) -> int:
    """Let TRIGGER read its broker's log again from there; what it got before it gets again."""
    _client(data).post(_path("triggers", _name(trigger, "Trigger"), namespace, "replay"), {"start": start})
    click.echo(f"trigger {_name(trigger, 'Trigger')} reads from {start}")
    return 0


@command.command()
@click.argument("broker")
@click.argument("uids", nargs=-1, metavar="[UID]...")
@namespace_option
@data_option
def forget(broker: str, uids: tuple[str, ...], namespace: str, data: Path) -> int:
    """Say which triggers left progress and letters on BROKER and are not there any more; forget those of UID.

    A trigger that is deleted while no broker process looks, or that is taken out of a snapshot file, leaves them, and
    the log is kept for it up to the quota. Without UID: those that SQLite has; `docs/stores.md` says where Redis and
    Kafka show theirs.
    """
    from launch.tables import aligned

    client, name = _client(data), _name(broker, "Broker")
    for uid in uids:
        client.post(_path("brokers", name, namespace, "forget"), {"trigger": uid})
        click.echo(f"{uid} forgotten")
    if not uids:
        here = {one["broker"]: one["uids"] for one in client.get(f"{PREFIX}/brokers")["brokers"]}
        left = [
            row
            for row in _left(data / "events" / namespace / f"{name}.db")
            if row[0] not in here.get(f"{namespace}/{name}", ())
        ]
        click.echo(
            "\n".join(aligned([("UID", "TRIGGER", "HOLDS FROM", "LETTERS"), *left])) if left else "nothing is left"
        )
    return 0


def _left(path: Path) -> list[tuple[str, str, str, str]]:
    """Of every trigger that the file knows: its uid, name, the lowest position that it needs, how many letters."""
    import sqlite3

    from broker.store.sqlite.files import connect
    from launch.instance import Failure

    if not path.is_file():
        raise Failure(f"no events in {path}; name a broker that SQLite keeps")
    db = connect(path, read_only=True)
    try:
        return [
            (uid, name, str(low), str(letters))
            for uid, name, low, letters in db.execute(
                "SELECT trigger, name, low, parked + dead_lettered FROM triggers ORDER BY name"
            )
        ]
    except sqlite3.Error as error:
        raise Failure(f"{path}: {error}") from None
    finally:
        db.close()


@command.command()
@click.argument("broker", required=False)
@namespace_option
@data_option
def scrub(broker: str | None, namespace: str, data: Path) -> int:
    """Read every event that SQLite keeps of BROKER (default: of all) and say which are damaged.

    Looks at the files in DIR, whether an instance runs or not, and changes nothing. Exit code 1 when something is.
    """
    from broker.store.sqlite.scrub import scrub as look
    from dataplane.errors import StoreFault
    from launch.instance import Failure

    folder = data / "events"
    one = f"{namespace}/{_name(broker, 'Broker')}.db" if broker else "*/*.db"
    paths = sorted(folder.glob(one))
    if not paths:
        raise Failure(f"no events in {folder / one}; name a broker that SQLite keeps, or the --data of its instance")
    sound = True
    for path in paths:
        try:
            found = look(path)
        except StoreFault as fault:
            raise Failure(str(fault)) from None
        sound = sound and not found.damaged and not found.structure
        name = f"{path.parent.name}/{path.stem}"
        click.echo(f"{name}: {found.records} records, {found.letters} letters, {len(found.damaged)} damaged")
        for what, why in found.damaged:
            click.echo(f"  {what}: {why}")
        for line in found.structure:
            click.echo(f"  file: {line}")
    return 0 if sound else 1


def _counted(count: int, letters: tuple[str, ...], done: str) -> int:
    """Exit code 1 when some of the letters that were named are not there."""
    click.echo(f"{count} {done}")
    absent = len(set(letters)) - count
    if absent > 0:
        click.echo(f"{absent} of those named are not there; `dataplane events parked` lists what is", err=True)
        return 1
    return 0


def _client(data: Path) -> "Client":
    from launch.client import connect

    return connect(data)


def _name(word: str, kind: str) -> str:
    from launch.names import kind_named

    first, slash, name = word.rpartition("/")
    if not name or "/" in first or (slash and (not first or kind_named(first).kind != kind)):
        raise click.UsageError(f"{word!r}: expected {kind.lower()}/NAME")
    return name


def _path(what: str, name: str, namespace: str, rest: str, **query: object) -> str:
    from urllib.parse import quote, urlencode

    asked = {key: value for key, value in query.items() if value not in (None, "")}
    return f"{PREFIX}/{what}/{quote(namespace, safe='')}/{quote(name, safe='')}/{rest}" + (
        f"?{urlencode(asked)}" if asked else ""
    )


def _told(fact: "Object") -> str:
    """One fact as a line: time, what, which event, then what else is known."""
    if fact["what"] == "missed":
        return f"… {fact['count']} facts missed: they happened faster than they were read"
    words = [fact["at"][11:23], f"{fact['what']:<13}", f"id={fact['id']}", f"type={fact['type']}"]
    words += [f"{name}={fact[name]}" for name in ("trigger", "position", "attempt", "code") if fact[name]]
    if fact["duration_s"]:
        words.append(f"took={fact['duration_s'] * 1000:.1f}ms")
    if fact["message"]:
        words.append(fact["message"])
    return _plain(" ".join(words))


def _why(letter: "Object") -> str:
    code = f"HTTP {letter['code']}" if letter["code"] else ""
    message = letter["message"] or letter["dest"]
    if code and message == f"answered {letter['code']}":
        message = ""  # the code said it
    answer = f": {_short(letter['answer'])}" if letter["answer"] else ""
    return _plain(f"{letter['reason']}: {' '.join(filter(None, (code, message)))}{answer}".strip())


def _short(text: str) -> str:
    """One line of a table; `-o json` has all of it."""
    line = " ".join(text.split())
    return line if len(line) <= ANSWER_MAX else f"{line[: ANSWER_MAX - 1]}…"


def _plain(text: str) -> str:
    """What senders and subscribers wrote must not steer the terminal it is shown on."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "\ufffd" for c in text)


def _json(body: object) -> int:
    import json

    click.echo(json.dumps(body, indent=2, ensure_ascii=False))
    return 0
