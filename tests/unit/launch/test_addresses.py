import socket
from collections.abc import Iterator

import pytest

from dataplane.errors import ConfigFault
from launch.addresses import must_be_free


@pytest.fixture(params=[False, True], ids=["alone", "shared by workers"])
def taken(request: pytest.FixtureRequest) -> Iterator[str]:
    with socket.socket() as other:
        if request.param:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield f"127.0.0.1:{other.getsockname()[1]}"


def _mistakes(**wanted: str) -> list[str]:
    with pytest.raises(ConfigFault) as found:
        must_be_free({f"--{flag}": address for flag, address in wanted.items()})
    return str(found.value).splitlines()


def test_an_address_that_is_taken_is_named_with_its_flag_and_what_to_do(taken: str) -> None:
    assert _mistakes(http=taken) == [
        f"--http {taken}: the address is in use by another process; stop that one, or take another port (0: any free one)"
    ]


def test_every_mistake_is_told_at_once(taken: str) -> None:
    found = _mistakes(
        http=taken, api="127.0.0.1", admin="192.0.2.1:0", local="nowhere.invalid:80", events="127.0.0.1:x"
    )
    assert [line.split(": ")[0] for line in found] == [
        f"--http {taken}",
        "--api",
        "--admin 192.0.2.1:0",
        "--local nowhere.invalid:80",
        "--events",
    ]
    assert "expected HOST:PORT" in found[1]
    assert "no interface of this machine has this address" in found[2]
    assert "does not resolve" in found[3]


def test_one_port_for_two_listeners_is_refused_but_any_port_is_not_one_port() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        free = f"127.0.0.1:{other.getsockname()[1]}"
    assert _mistakes(http=free, api=free) == [f"--api {free}: --http has this address already; take another port"]
    must_be_free({"--http": "127.0.0.1:0", "--api": "127.0.0.1:0"})


def test_what_is_not_listened_on_is_not_looked_at() -> None:
    must_be_free({"--admin": ""})


def test_a_port_whose_connections_are_in_time_wait_is_free() -> None:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        address = listener.getsockname()
        with socket.create_connection(address) as client:
            server, _ = listener.accept()
            server.close()
            assert client.recv(1) == b""
    must_be_free({"--http": f"{address[0]}:{address[1]}"})
