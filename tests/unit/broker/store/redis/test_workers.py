import os
import subprocess
import sys

import pytest

from broker.store.redis.workers import is_dead, our_name


@pytest.fixture
def other():
    code = "from broker.store.redis.workers import our_name; print(our_name(), flush=True); input()"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    yield process, process.stdout.readline().strip()
    process.kill()
    process.communicate()


def test_we_live() -> None:
    assert not is_dead(our_name())
    assert our_name() != our_name(), "two stores of one process are two workers"


def test_a_neighbour_is_dead_when_its_process_is(other) -> None:
    process, name = other
    assert not is_dead(name)
    process.kill()
    process.wait()
    assert is_dead(name)


def test_a_process_that_nobody_waited_for_is_dead(other) -> None:
    process, name = other
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert is_dead(name)


def test_a_number_that_was_given_to_another_process_is_not_the_one_that_had_it() -> None:
    host, boot, space, pid, start, extra = our_name().split(".")
    assert is_dead(".".join((host, boot, space, pid, str(int(start) + 1), extra)))


@pytest.mark.parametrize("name", ["released", "a.b.c", "elsewhere.12345678.1.1.1.abcdef", "h.b.n.x.1.r", ""])
def test_nobody_is_dead_whom_we_cannot_see(name: str) -> None:
    assert not is_dead(name)
