from dataplane.wire.forwarding import first_hop, next_hop, synthesised
from dataplane.wire.headers import Field


def test_the_first_hop_states_what_the_connection_knows():
    assert first_hop(b"10.0.0.1", b"hello.localhost:8080") == (
        b"x-forwarded-for: 10.0.0.1\r\nx-forwarded-proto: http\r\n"
        b'forwarded: for=10.0.0.1;host="hello.localhost:8080";proto=http\r\n'
    )


def test_ipv6_nodes_are_bracketed_and_quoted():
    assert b'for="[::1]"' in first_hop(b"::1", b"h")


def test_the_next_hop_extends_and_keeps_an_existing_forwarded():
    seen = {int(Field.FORWARDED_FOR): b"1.1.1.1", int(Field.FORWARDED): b"for=1.1.1.1"}
    assert next_hop(b"2.2.2.2", b"h", seen) == (
        b"x-forwarded-for: 1.1.1.1, 2.2.2.2\r\nx-forwarded-proto: http\r\nforwarded: for=1.1.1.1\r\n"
    )


def test_forwarded_is_synthesised_from_what_arrived():
    """Spec §9.4: `for=<first>;host=<h>;proto=<p>, for=<next>`."""
    assert (
        synthesised(b"1.1.1.1, 2001:db8::1", b"https", b"h") == b'for=1.1.1.1;host=h;proto=https, for="[2001:db8::1]"'
    )
