"""What `dataplane describe` prints: objects as text, in kn's manner for Services, in kubectl's for the rest. Pure.

Source: design/ecosystem.md §2.2 (kn describe marks: `++` true, `!!` false, `??` unknown).
"""

from collections.abc import Iterable
from typing import Any

from dataplane.clock import parse_rfc3339
from launch.tables import GREEN, RED, YELLOW, age, aligned, bar, painted

Object = dict[str, Any]

EVENTS_MAX = 20


class Describer:
    """`now` is wall seconds; ages are counted from it."""

    def __init__(self, *, now: float, colour: bool) -> None:
        self._now, self._colour = now, colour

    def service(self, service: Object, revisions: Iterable[Object], events: Iterable[Object]) -> list[str]:
        """A Knative Service: URL, traffic with bars, conditions, events newest first."""
        meta, status = service["metadata"], service.get("status", {})
        out = aligned(
            [
                ("Name:", meta["name"]),
                ("Namespace:", meta.get("namespace", "")),
                *self._texts("Labels:", meta.get("labels")),
                *self._texts("Annotations:", meta.get("annotations")),
                ("Age:", self._age(meta.get("creationTimestamp"))),
                ("URL:", status.get("url", "")),
                ("Address:", (status.get("address") or {}).get("url", "")),
            ],
            gap=2,
        )
        out += ["", "Revisions:"]
        by_name = {one["metadata"]["name"]: one for one in revisions}
        shown: set[str] = set()
        for share in status.get("traffic", []):
            out += self._share(share, by_name.get(share.get("revisionName", "")))
            shown.add(share.get("revisionName", ""))
        latest = status.get("latestCreatedRevisionName", "")
        if latest and latest not in shown and latest in by_name:
            out += self._share({"revisionName": latest, "percent": 0}, by_name[latest])
        out += ["", *self._conditions(status)]
        return [*out, "", *self.events(events)]

    def anything(self, one: Object, events: Iterable[Object]) -> list[str]:
        """Any other kind: its fields as kubectl describe lays them out."""
        meta = dict(one["metadata"])
        head = [("Name:", meta.pop("name", "")), ("Namespace:", meta.pop("namespace", ""))]
        head += [
            *self._texts("Labels:", meta.pop("labels", None)),
            *self._texts("Annotations:", meta.pop("annotations", None)),
        ]
        head += [("API Version:", one.get("apiVersion", "")), ("Kind:", one.get("kind", ""))]
        head += [("Age:", self._age(meta.get("creationTimestamp")))]
        out = aligned(head, gap=2)
        for owner in meta.get("ownerReferences", []):
            out.append(f"Controlled By:  {owner['kind']}/{owner['name']}")
        rest = {k: v for k, v in one.items() if k not in ("apiVersion", "kind", "metadata", "status")}
        if one.get("kind") == "Secret":
            rest["data"] = {key: f"{_decoded_bytes(value)} bytes" for key, value in (rest.get("data") or {}).items()}
            rest.pop("stringData", None)
        out += _fields(rest, "")
        status = dict(one.get("status") or {})
        conditions = status.pop("conditions", None)
        if status:
            out += ["Status:", *_fields(status, "  ")]
        if conditions:
            out += ["", *self._conditions({"conditions": conditions})]
        return [*out, "", *self.events(events)]

    def events(self, events: Iterable[Object]) -> list[str]:
        """Newest first, at most 20."""
        newest = sorted(events, key=lambda one: (_seen(one), one["metadata"].get("resourceVersion", "")), reverse=True)
        if not newest:
            return ["Events:  <none>"]
        rows = [("TYPE", "REASON", "AGE", "OBJECT", "MESSAGE")]
        for one in newest[:EVENTS_MAX]:
            count = int(one.get("count") or 1)
            since = self._age(_seen(one)) + (f" (x{count})" if count > 1 else "")
            about = one.get("involvedObject") or {}
            thing = f"{str(about.get('kind', '')).lower()}/{about.get('name', '')}"
            rows.append((one.get("type", ""), one.get("reason", ""), since, thing, one.get("message", "")))
        out = ["Events:", *aligned(rows, gap=2, indent="  ")]
        if len(newest) > EVENTS_MAX:
            out.append(f"  … and {len(newest) - EVENTS_MAX} older ones")
        return out

    def _share(self, share: Object, revision: Object | None) -> list[str]:
        name = share.get("revisionName", "")
        percent = int(share.get("percent") or 0)
        words = [f"{percent:3d}%", bar(percent), f"@latest ({name})" if share.get("latestRevision") else name]
        if share.get("tag"):
            words.append(f"#{share['tag']}")
        if revision is None:
            return ["  " + "  ".join(words)]
        meta, status = revision["metadata"], revision.get("status", {})
        generation = meta.get("labels", {}).get("serving.knative.dev/configurationGeneration", "")
        words.append(f"[{generation}] ({self._age(meta.get('creationTimestamp'))})")
        ready: Object = next((c for c in status.get("conditions", []) if c["type"] == "Ready"), {})
        failed = ready.get("status") == "False"
        head = "! " if failed else "  "
        out = [painted(head + "  ".join(words), RED, colour=self._colour and failed)]
        if failed:
            out.append(f"        Error:     {ready.get('message') or ready.get('reason', '')}")
        containers = revision.get("spec", {}).get("containers", [])
        image = next((c.get("image") or " ".join(c.get("command", [])) for c in containers), "")
        out.append(f"        Image:     {image}")
        if len(containers) > 1:
            out.append(f"        Sidecars:  {', '.join(c.get('name', '') for c in containers[1:])}")
        actual, desired = status.get("actualReplicas"), status.get("desiredReplicas")
        if actual is not None or desired is not None:
            out.append(f"        Replicas:  {actual or 0}/{desired or 0}")
        if share.get("url"):
            out.append(f"        URL:       {share['url']}")
        return out

    def _conditions(self, status: Object) -> list[str]:
        rows = [("OK", "TYPE", "AGE", "REASON")]
        conditions = sorted(status.get("conditions", []), key=lambda one: (one["type"] != "Ready", one["type"]))
        if not conditions:
            return ["Conditions:  <none>"]
        for one in conditions:
            mark = {"True": "++", "False": "!!"}.get(one.get("status", ""), "??")
            if one.get("severity") == "Info" and mark == "!!":
                mark = "I "
            words = ": ".join(word for word in (one.get("reason", ""), one.get("message", "")) if word)
            rows.append((mark, one["type"], self._age(one.get("lastTransitionTime")), words))
        lines = aligned(rows, gap=1, indent="  ")
        colours = {"++": GREEN, "!!": RED, "??": YELLOW}
        painted_lines = [
            line[:2] + painted(row[0], colours.get(row[0], ""), colour=self._colour and row[0] in colours) + line[4:]
            for line, row in zip(lines, rows, strict=True)
        ]
        return ["Conditions:", *painted_lines]

    def _age(self, timestamp: str | None) -> str:
        if not timestamp:
            return ""
        try:
            return age(self._now - parse_rfc3339(timestamp))
        except ValueError:
            return timestamp

    def _texts(self, title: str, texts: dict[str, str] | None) -> list[tuple[str, str]]:
        out: list[tuple[str, str]] = []
        for key, value in sorted((texts or {}).items()):
            short = value if len(value) <= 100 else value[:97] + "..."
            out.append((title if not out else "", f"{key}={short}"))
        return out


def _seen(event: Object) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or event.get("firstTimestamp") or "")


def _decoded_bytes(value: str) -> int:
    return len(value) * 3 // 4 - value.count("=", -2)


def _fields(value: object, indent: str) -> list[str]:
    """`Container Concurrency:  5`, nested with two blanks."""
    out: list[str] = []
    if isinstance(value, dict):
        for key, inner in value.items():
            title = _title(str(key))
            if isinstance(inner, dict | list) and inner:
                out += [f"{indent}{title}:", *_fields(inner, indent + "  ")]
            elif not isinstance(inner, dict | list):
                lines = str(inner).splitlines() or [""]
                out.append(f"{indent}{title}:  {lines[0]}")
                out += [f"{indent}  {line}" for line in lines[1:]]
    elif isinstance(value, list):
        for n, inner in enumerate(value):
            out += _fields(inner, indent) if isinstance(inner, dict | list) else [f"{indent}{inner}"]
            if isinstance(inner, dict) and n + 1 < len(value):
                out.append("")
    return out


def _title(key: str) -> str:
    """camelCase → Camel Case; names of the user's (with dots, dashes, underscores) stay."""
    if not key.isalnum() or key.isupper():
        return key
    words = "".join(f" {c}" if c.isupper() and n and not key[n - 1].isupper() else c for n, c in enumerate(key))
    return words[:1].upper() + words[1:]
