"""SERVING_READINESS_PROBE as Knative writes it."""

import json

import pytest

from dataplane.errors import ConfigFault
from queueproxy.checks import Check, parse_checks


def parse(*probes, port=8080):
    return parse_checks(json.dumps(probes[0] if len(probes) == 1 else probes), port)


def test_without_a_probe_a_connect_decides():
    assert parse_checks("", 8080) == (Check(port=8080),)


def test_knatives_default():
    assert parse({"tcpSocket": {"port": 0}, "successThreshold": 1}) == (Check(port=8080),)


def test_a_period_makes_it_one_patient_try():
    (check,) = parse({"tcpSocket": {"port": 9000, "host": "127.0.0.2"}, "periodSeconds": 5, "timeoutSeconds": 3})
    assert check == Check(host="127.0.0.2", port=9000, aggressive=False, timeout_s=3.0)


def test_http_get_with_everything():
    (check,) = parse(
        {
            "httpGet": {
                "path": "/r?x=1",
                "port": 8443,
                "scheme": "HTTPS",
                "httpHeaders": [{"name": "Host", "value": "a.example"}, {"name": "user-agent", "value": "me"}],
            },
            "successThreshold": 2,
        }
    )
    assert (check.kind, check.port, check.tls, check.target, check.successes) == ("http", 8443, True, b"/r?x=1", 2)
    assert check.headers == b"accept: */*\r\nHost: a.example\r\nuser-agent: me\r\n"


@pytest.mark.parametrize(("port", "found"), [("http1", 8080), ("9000", 9000), (0, 8080), (81, 81), ("", 8080)])
def test_a_named_or_missing_port_is_the_apps(port, found):
    assert parse({"httpGet": {"port": port}})[0].port == found


def test_a_list_is_all_of_them():
    checks = parse({"tcpSocket": {"port": 1}}, {"httpGet": {"port": 2}})
    assert [(c.kind, c.port) for c in checks] == [("tcp", 1), ("http", 2)]


def test_exec_becomes_a_connect():
    assert parse({"exec": {"command": ["true"]}})[0] == Check(port=8080)


def test_grpc_says_that_it_is_not_there_yet():
    assert parse({"grpc": {"port": 8080, "service": None}})[0].kind == "unsupported"


def test_fields_of_later_versions_are_passed_over():
    assert parse({"tcpSocket": {"port": 1, "mood": "good"}, "failureThreshold": 3, "new": 1})[0].port == 1


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[1]",
        '{"httpGet": {"port": 70000}}',
        '{"httpGet": {"path": "/a b"}}',
        '{"httpGet": {"scheme": "FTP"}}',
        '{"httpGet": {"httpHeaders": [{"name": "a b", "value": ""}]}}',
        '{"httpGet": {"httpHeaders": [{"name": "a", "value": "x\\r\\ny: z"}]}}',
        json.dumps([{}] * 17),
    ],
)
def test_what_cannot_be_run_is_refused_by_name(text):
    with pytest.raises(ConfigFault, match="SERVING_READINESS_PROBE: "):
        parse_checks(text, 8080)
