import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataplane.errors import BadRequest
from dataplane.wire.headers import NAMES_MAX, Field, from_hop, from_outside, from_proxy, is_token, normal_host


@pytest.mark.parametrize(
    ("received", "normal"),
    [
        (b"Hello.Default.Localhost", b"hello.default.localhost"),
        (b"hello.localhost:8080", b"hello.localhost"),
        (b"hello.localhost.", b"hello.localhost"),
        (b"hello.localhost:", b"hello.localhost"),
        (b"127.0.0.1:80", b"127.0.0.1"),
        (b"[::1]:8080", b"[::1]"),
        (b"[::1]", b"[::1]"),
    ],
)
def test_hosts_are_compared_without_port_and_case(received, normal):
    assert normal_host(received) == normal


@pytest.mark.parametrize(
    "bad",
    [b"", b":80", b"a:b", b"a:70000", b"a b", b"a,b", b"u@h", b"h/p", b"[::1", b"a]", b"a\x00", b"\xff", b"a:1:2"],
)
def test_malformed_hosts_are_refused(bad):
    with pytest.raises(BadRequest):
        normal_host(bad)


@given(st.binary(max_size=30))
def test_a_normal_host_is_stable_and_names_no_port(value):
    try:
        normal = normal_host(value)
    except BadRequest:
        return
    assert normal == normal.lower()
    if normal and not normal.startswith(b"["):
        assert b":" not in normal


def test_outside_k_headers_are_dropped_in_any_case():
    table = from_outside()
    assert table.learn(b"K-Proxy-Request") == Field.DROP
    assert table.learn(b"knative-serving-anything") == Field.DROP
    assert table.learn(b"X-Forwarded-For") == Field.DROP
    assert table.learn(b"X-Mine") == Field.PASS


def test_a_trusted_proxy_keeps_forwarding_headers_but_not_ours():
    table = from_proxy()
    assert table.trusted
    assert table.learn(b"X-Forwarded-For") == Field.FORWARDED_FOR
    assert table.learn(b"k-original-host") == Field.DROP


def test_our_hops_may_speak_to_each_other():
    assert from_hop().learn(b"K-Original-Host") == Field.ORIGINAL_HOST
    assert from_hop().learn(b"with_underscore") == Field.PASS


def test_learned_names_are_bounded():
    table = from_outside()
    for i in range(NAMES_MAX + 100):
        table.learn(b"x-%d" % i)
    assert len(table.actions) == NAMES_MAX


@given(st.binary(max_size=20))
def test_a_name_is_learned_only_if_it_is_a_token(name):
    table = from_outside()
    if is_token(name) and b"_" not in name:
        table.learn(name)
    else:
        with pytest.raises(BadRequest):
            table.learn(name)


def test_a_client_cannot_make_us_remember_long_names_or_hosts():
    table = from_outside()
    assert table.learn(b"x" * 30_000) == Field.PASS
    assert not table.actions
    with pytest.raises(BadRequest):
        normal_host(b"a" * 300)
    assert normal_host(b"a" * 253 + b".:65535") == b"a" * 253
