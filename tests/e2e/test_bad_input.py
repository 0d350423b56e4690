"""Bad input is told with its place and what was meant, and nothing of it is applied."""

import json
import os
import socket
import subprocess
import sys

import pytest

from tests.e2e.conftest import ROOT, Up

THREE_MISTAKES = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: sound}
---
apiVersion: serving.knative.dev/v1
kind: Service
metadata:
  name: hello
spec:
  template:
    spec:
      containers:
        - imagee: dev.local/hello
          ports:
            - containerPort: 8012
  traffic:
    - latestRevision: true
      percent: 90
"""

SERVICE = """\
apiVersion: serving.knative.dev/v1
kind: Service
metadata:
  name: hello
spec:
  template:
    spec:
      containers:
        - image: dev.local/hello
"""

DENIED = 'admission webhook "validation.webhook.serving.knative.dev" denied the request: validation failed: '

# what is wrong → (manifest, what kubectl says, what dataplane says and where)
ONE_BY_ONE = {
    "unknown kind": (
        SERVICE.replace("kind: Service", "kind: Servcie"),
        'no matches for kind "Servcie" in version "serving.knative.dev/v1"',
        ':2:1: kind: no matches for kind "Servcie" in version "serving.knative.dev/v1"; did you mean "Service"?',
    ),
    "unknown field": (
        SERVICE.replace("  template:\n", "  templat: {}\n  template:\n"),
        'unknown field "spec.templat"',
        ':6:3: spec.templat: unknown field; did you mean "template"?',
    ),
    "percent sum": (
        SERVICE + "  traffic:\n    - latestRevision: true\n      percent: 90\n",
        DENIED + "Traffic targets sum to 90, want 100: spec.traffic",
        ":10:3: spec.traffic: Traffic targets sum to 90, want 100",
    ),
    "reserved port": (
        SERVICE + "          ports:\n            - containerPort: 8012\n",
        DENIED + "invalid value: 8012 is a reserved port: spec.template.spec.containers[0].ports[0].containerPort",
        ":11:15: spec.template.spec.containers[0].ports[0].containerPort: invalid value: 8012 is a reserved port",
    ),
}


def dataplane(up: Up, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "launch", *arguments],
        capture_output=True,
        text=True,
        input=stdin,
        env=os.environ | {"DATAPLANE_DATA": str(up.data), "PYTHONPATH": str(ROOT)},
        timeout=60,
        check=False,
    )


def nothing_applied(up: Up) -> None:
    for kind in ("ksvc", "rev"):
        assert json.loads(up.kubectl("get", kind, "-o", "json"))["items"] == []
    assert "sound" not in up.kubectl("get", "configmaps", "-o", "name")


@pytest.fixture
def up(start) -> Up:
    return start()


def test_three_mistakes_are_three_errors_with_places_and_suggestions_and_nothing_is_applied(up, tmp_path):
    file = tmp_path / "three.yaml"
    file.write_text(THREE_MISTAKES)
    run = dataplane(up, "apply", "-f", str(file))
    assert run.returncode == 1
    assert run.stdout == ""
    errors = [line for line in run.stderr.splitlines() if str(file) in line]
    assert len(errors) == 3, run.stderr
    assert f'{file}:13:11: spec.template.spec.containers[0].imagee: unknown field; did you mean "image"?' in errors[0]
    reserved = "spec.template.spec.containers[0].ports[0].containerPort: invalid value: 8012 is a reserved port"
    assert f"{file}:15:15: {reserved}" in errors[1]
    assert f"{file}:16:3: spec.traffic: Traffic targets sum to 90, want 100" in errors[2]
    nothing_applied(up)


def test_each_mistake_has_the_text_of_upstream_through_kubectl_and_through_dataplane_apply(up, tmp_path):
    for what, (manifest, kubectl_says, dataplane_says) in ONE_BY_ONE.items():
        said = up.kubectl("apply", "--validate=strict", "-f", "-", stdin=manifest, check=False)
        assert kubectl_says in said, f"{what}: {said}"
        file = tmp_path / "bad.yaml"
        file.write_text(manifest)
        run = dataplane(up, "apply", "-f", str(file))
        assert run.returncode == 1, what
        assert f"{file}{dataplane_says}" in run.stderr, f"{what}: {run.stderr}"
        nothing_applied(up)


def test_the_sound_manifest_is_applied_so_that_the_mistakes_above_are_what_was_refused(up):
    assert "created" in up.kubectl("apply", "--validate=strict", "-f", "-", stdin=SERVICE)


MALFORMED = {
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "a NUL": b"GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n",
    "nonsense": b"NONSENSE\r\n\r\n",
    "two framings": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a length that is none": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5_0\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a client hello\r\n\r\n",
}


def test_malformed_http_gets_400_and_a_closed_connection(up):
    for what, request in MALFORMED.items():
        with socket.create_connection(("127.0.0.1", up.port), timeout=10) as sock:
            sock.sendall(request + b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            answer = b""
            while piece := sock.recv(65536):
                answer += piece
        assert answer.startswith(b"HTTP/1.1 400 "), f"{what}: {answer!r}"
        assert b"\r\nconnection: close\r\n" in answer.lower(), what
        assert answer.count(b"HTTP/1.1") == 1, what
