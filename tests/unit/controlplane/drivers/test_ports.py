"""Ports are given to one at a time, on the whole machine."""

import socket

import pytest

from controlplane.drivers.ports import Ports, is_free

RANGE = {"first": 19_300, "last": 19_339}


def test_LP_03_no_port_is_given_twice_while_it_is_held():
    ports = Ports(**RANGE)
    taken = [ports.take() for _ in range(20)]
    assert len(set(taken)) == 20
    ports.close()


def test_LP_03_two_drivers_on_one_machine_do_not_meet():
    one, other = Ports(**RANGE), Ports(**RANGE)
    taken = [ports.take() for _ in range(8) for ports in (one, other)]
    assert len(set(taken)) == 16
    one.close()
    other.close()


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_LP_03_a_port_that_somebody_listens_on_is_passed_over(address):
    ports = Ports(**RANGE)
    with socket.socket() as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        port = ports.take()
        ports.give_back(port)
        stranger.bind((address, port))
        stranger.listen()
        assert not is_free(port)
        again = Ports(**RANGE, start=port - RANGE["first"])
        assert again.take() != port
        again.close()
    ports.close()


def test_LP_03_a_connection_in_TIME_WAIT_keeps_its_port_out(tmp_path):
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        accepted, _ = server.accept()
        accepted.close()  # the server's side closes first: its port is in TIME_WAIT
        client.recv(1)
        client.close()
    assert not is_free(port)


def test_LP_03_a_given_back_port_comes_again_last():
    ports = Ports(first=19_350, last=19_352)
    first = ports.take()
    ports.give_back(first)
    assert [ports.take(), ports.take(), ports.take()][-1] == first
    with pytest.raises(OSError, match="no free port in 19350-19352"):
        ports.take()
    ports.close()
