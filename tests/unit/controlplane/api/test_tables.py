import pytest

from controlplane.api import tables
from dataplane.clock import parse_rfc3339
from dataplane.resources import core, serving
from dataplane.resources.kinds import BY_KIND, KINDS
from dataplane.resources.meta import ObjectMeta


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "<invalid>"),
        (-1, "0s"),
        (0, "0s"),
        (119.9, "119s"),
        (120, "2m"),
        (125, "2m5s"),
        (600, "10m"),
        (179 * 60 + 59, "179m"),
        (3 * 3600, "3h"),
        (3 * 3600 + 60, "3h1m"),
        (8 * 3600 + 60, "8h"),
        (47 * 3600, "47h"),
        (48 * 3600, "2d"),
        (49 * 3600, "2d1h"),
        (8 * 86400 + 3600, "8d"),
        (729 * 86400, "729d"),
        (730 * 86400, "2y"),
        (2 * 365 * 86400 + 86400, "2y1d"),
        (8 * 365 * 86400 + 86400, "8y"),
    ],
)
def test_durations_are_written_as_kubectl_does(seconds: float, text: str) -> None:
    assert tables.duration(seconds) == text


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("application/json;as=Table;v=v1;g=meta.k8s.io,application/json", "table"),
        ("application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json;as=Table;v=v1;g=meta.k8s.io", "table"),
        ("application/vnd.kubernetes.protobuf,application/json", "object"),
        ("application/json; as=PartialObjectMetadataList; g=meta.k8s.io; v=v1", "metadata"),
        ("*/*", "object"),
        ("", "object"),
        ("text/html;q", "object"),
    ],
)
def test_the_accept_header_chooses_the_form(accept: str, form: str) -> None:
    assert tables.form(accept) == form


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_every_kind_fills_every_column_even_for_an_empty_object(kind) -> None:
    table = tables.table(kind, [kind.struct()], now=0)
    assert len(table["rows"][0]["cells"]) == len(table["columnDefinitions"])


def test_age_is_counted_from_creation() -> None:
    meta = ObjectMeta(name="a", creation_timestamp="2026-11-22T10:00:00Z")
    now = parse_rfc3339("2026-11-22T10:05:00Z")
    [row] = tables.table(BY_KIND["", "Pod"], [core.Pod(metadata=meta)], now=now)["rows"]
    assert row["cells"] == ["a", "0/0", "Pending", 0, "5m"]
    assert row["object"]["kind"] == "PartialObjectMetadata"


def test_rows_may_come_without_objects_or_with_all_of_them() -> None:
    kind, one = BY_KIND[serving.GROUP, "Service"], serving.Service(metadata=ObjectMeta(name="a"))
    assert "object" not in tables.table(kind, [one], now=0, include="None")["rows"][0]
    assert tables.table(kind, [one], now=0, include="Object")["rows"][0]["object"]["kind"] == "Service"


def test_events_are_named_last_because_nobody_reads_their_names() -> None:
    columns = tables.table(BY_KIND["", "Event"], [], now=0)["columnDefinitions"]
    assert [c["name"] for c in columns if not c["priority"]] == ["Last Seen", "Type", "Reason", "Object", "Message"]
