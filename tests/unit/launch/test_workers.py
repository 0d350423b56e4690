import socket

import pytest

from launch.workers import reserved


def _left_in_time_wait() -> int:
    """A port whose listener is gone and whose side closed the last connection first."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = int(listener.getsockname()[1])
        with socket.create_connection(("127.0.0.1", port)) as client:
            server, _ = listener.accept()
            server.close()
            assert client.recv(1) == b""
    return port


def test_a_port_with_connections_of_the_process_before_in_time_wait_is_had() -> None:
    port = _left_in_time_wait()
    with reserved("127.0.0.1", port) as held:
        assert held.getsockname()[1] == port


def test_a_port_that_is_taken_is_named() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port}: Address already in use"):
            reserved("127.0.0.1", port)
