import logging
import socket
from pathlib import Path

import pytest

from launch.eventing import place_of, reached_at


def test_brokers_keep_their_port_over_restarts_and_say_when_they_cannot(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    host, port = place_of(tmp_path, "127.0.0.1:0")
    assert place_of(tmp_path, "127.0.0.1:0") == (host, port)
    assert not caplog.records
    with socket.socket() as other, caplog.at_level(logging.WARNING):
        other.bind((host, port))
        other.listen()
        assert place_of(tmp_path, "127.0.0.1:0")[1] not in (0, port)
    assert f"events_port_taken before={port}" in caplog.text


@pytest.mark.parametrize(
    ("host", "reached"), [("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("10.0.0.1", "10.0.0.1"), ("::1", "::1")]
)
def test_brokers_on_every_interface_have_an_address_that_can_be_called(host: str, reached: str) -> None:
    assert reached_at((host, 1)) == (reached, 1)
