"""How long this process is a member of its group for sure: what the coordinator answers says.

Path: aiokafka's coordinator → [session] → membership.py.

The coordinator gives a member's partitions away when it has not heard of it for the group's session. It counts from
when a heartbeat arrives; we, from when we began to send the one that was answered, and as a tenth less. A process that
was stopped or cut off finds its session over when it goes on, before anybody tells it.

Source: reliability.md BR-20; spec/eventing.md §28.3.
"""

from collections.abc import Callable

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import NoError, RebalanceInProgressError
from aiokafka.protocol.api import Request, Response
from aiokafka.protocol.group import HeartbeatRequest, SyncGroupRequest

SURE = 0.9  # of a session: clocks do not run alike, and an attempt takes a moment to begin
MEMBER = (NoError.errno, RebalanceInProgressError.errno)  # while a rebalance is prepared the old generation holds


class Session:
    """until: clock seconds. told: called whenever the coordinator said that we are a member."""

    def __init__(self, timeout_s: float, clock: Callable[[], float], told: Callable[[], None]) -> None:
        self.until = 0.0
        self._timeout_s = timeout_s
        self._clock = clock
        self._told = told

    @property
    def sure(self) -> bool:
        return self._clock() < self.until

    def watch(self, kafka: AIOKafkaConsumer) -> None:
        """A consumer that was just started: aiokafka itself tells nobody what was answered."""
        self.until = 0.0
        coordinator = kafka._coordinator
        send = coordinator._send_req

        async def watched(request: Request) -> Response:
            asked = self._clock()
            response: Response = await send(request)
            if isinstance(request, HeartbeatRequest | SyncGroupRequest) and response.error_code in MEMBER:
                self.heard(asked)
            return response

        coordinator._send_req = watched

    def heard(self, asked: float) -> None:
        """A sign of life that was sent at `asked` or later was answered."""
        self.until = max(self.until, asked + self._timeout_s * SURE)
        self._told()
