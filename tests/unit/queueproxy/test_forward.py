"""Forwarding lines of §9.4."""

import pytest

from dataplane.wire.headers import Field
from queueproxy.forward import forwarding

FOR, PROTO, HOST, FORWARDED = (
    int(f) for f in (Field.FORWARDED_FOR, Field.FORWARDED_PROTO, Field.FORWARDED_HOST, Field.FORWARDED)
)


@pytest.mark.parametrize(
    ("seen", "lines"),
    [
        ({}, b"x-forwarded-for: 10.0.0.9\r\n"),
        (
            {FOR: b"1.2.3.4"},
            b"x-forwarded-for: 1.2.3.4, 10.0.0.9\r\nforwarded: for=1.2.3.4\r\n",
        ),
        (
            {FOR: b"1.2.3.4,5.6.7.8", PROTO: b"https", HOST: b"a.example:8443"},
            b"x-forwarded-for: 1.2.3.4,5.6.7.8, 10.0.0.9\r\nx-forwarded-proto: https\r\n"
            b"x-forwarded-host: a.example:8443\r\n"
            b'forwarded: for=1.2.3.4;host="a.example:8443";proto=https, for=5.6.7.8\r\n',
        ),
        (
            {FOR: b"2001:db8::1, [2001:db8::2]"},
            b"x-forwarded-for: 2001:db8::1, [2001:db8::2], 10.0.0.9\r\n"
            b'forwarded: for="[2001:db8::1]", for="[2001:db8::2]"\r\n',
        ),
        ({HOST: b"a"}, b"x-forwarded-for: 10.0.0.9\r\nx-forwarded-host: a\r\nforwarded: host=a\r\n"),
        (
            {FOR: b"1.2.3.4", FORWARDED: b"for=unknown"},
            b"x-forwarded-for: 1.2.3.4, 10.0.0.9\r\nforwarded: for=unknown\r\n",
        ),
    ],
)
def test_the_app_sees_what_came_and_the_peer(seen, lines):
    assert forwarding(b"10.0.0.9", seen) == lines
