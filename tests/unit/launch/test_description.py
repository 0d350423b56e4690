from typing import Any

from launch.description import Describer

NOW = 1_800_000_000.0  # 2027-01-15T08:00:00Z


def _service() -> dict[str, Any]:
    return {
        "metadata": {"name": "hello", "namespace": "default", "creationTimestamp": "2027-01-15T07:55:00Z"},
        "status": {
            "url": "http://hello.default.localhost:8080",
            "latestCreatedRevisionName": "hello-00003",
            "traffic": [
                {"revisionName": "hello-00002", "percent": 90, "latestRevision": True},
                {
                    "revisionName": "hello-00001",
                    "percent": 10,
                    "tag": "old",
                    "url": "http://old-hello.default.localhost",
                },
            ],
            "conditions": [
                {"type": "ConfigurationsReady", "status": "False", "reason": "RevisionFailed", "message": "boom"},
                {"type": "Ready", "status": "Unknown"},
                {"type": "RoutesReady", "status": "True", "lastTransitionTime": "2027-01-15T07:59:00Z"},
            ],
        },
    }


def _revision(name: str, generation: str, ready: str) -> dict[str, Any]:
    return {
        "metadata": {
            "name": name,
            "creationTimestamp": "2027-01-15T07:55:00Z",
            "labels": {"serving.knative.dev/configurationGeneration": generation},
        },
        "spec": {"containers": [{"image": "img"}]},
        "status": {
            "actualReplicas": 1,
            "desiredReplicas": 2,
            "conditions": [{"type": "Ready", "status": ready, "message": "container missing"}],
        },
    }


EVENTS = [
    {"metadata": {}, "type": "Normal", "reason": "Old", "lastTimestamp": "2027-01-15T07:00:00Z", "message": "first"},
    {
        "metadata": {},
        "type": "Warning",
        "reason": "New",
        "lastTimestamp": "2027-01-15T07:59:30Z",
        "message": "then",
        "count": 3,
    },
]


def test_a_service_shows_traffic_conditions_and_events_as_kn_does() -> None:
    revisions = [
        _revision("hello-00001", "1", "True"),
        _revision("hello-00002", "2", "True"),
        _revision("hello-00003", "3", "False"),
    ]
    lines = Describer(now=NOW, colour=False).service(_service(), revisions, EVENTS)
    assert "URL:        http://hello.default.localhost:8080" in lines
    assert "   90%  █████████░  @latest (hello-00002)  [2] (5m)" in lines
    assert "   10%  █░░░░░░░░░  hello-00001  #old  [1] (5m)" in lines
    assert "!   0%  ░░░░░░░░░░  hello-00003  [3] (5m)" in lines
    assert "        Error:     container missing" in lines
    assert "        Replicas:  1/2" in lines
    conditions = lines[lines.index("Conditions:") :]
    assert conditions[1:5] == [
        "  OK TYPE                AGE REASON",
        "  ?? Ready",
        "  !! ConfigurationsReady     RevisionFailed: boom",
        "  ++ RoutesReady         60s",
    ]
    events = lines[lines.index("Events:") :]
    assert [line.split()[1] for line in events[2:]] == ["New", "Old"]
    assert "30s (x3)" in events[2]


def test_the_values_of_a_secret_are_never_shown() -> None:
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "s", "namespace": "default"},
        "type": "Opaque",
        "data": {"password": "aHVudGVyMg=="},
    }
    text = "\n".join(Describer(now=NOW, colour=False).anything(secret, []))
    assert "Password:  7 bytes" in text
    assert "aHVudGVyMg" not in text
    assert "Events:  <none>" in text


def test_fields_are_named_as_kubectl_names_them() -> None:
    one = {
        "kind": "Revision",
        "metadata": {"name": "r"},
        "spec": {"containerConcurrency": 5, "containers": [{"image": "x"}]},
    }
    text = "\n".join(Describer(now=NOW, colour=False).anything(one, []))
    assert "Spec:\n  Container Concurrency:  5\n  Containers:\n    Image:  x" in text
