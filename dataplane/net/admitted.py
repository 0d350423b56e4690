"""A relay that needs a slot on a pod first: ask, maybe wait, go, and give the slot back on every way out.

Path: gateway/forward.py and activator/forward.py subclass [Admitted], which subclasses net/relay.py.

Ownership rule: `slot` set = ours, to be left exactly once; `held` = we stand in the queue; never both.

Source: architecture.md "The four contracts" 2; reliability.md AC-02, AC-03.
"""

from dataplane.errors import DataplaneError
from dataplane.net.engine import Engine
from dataplane.net.relay import Relay
from dataplane.net.server import ServerConnection
from dataplane.policy.admission import Admission, Slot


class Admitted(Relay):
    __slots__ = ("admission", "avoid", "cold", "held", "revision", "slot", "waited_s")

    waited_s: float  # set when a cold start ended

    admission: Admission  # both set by the hop before start()
    revision: str

    def __init__(self, engine: Engine, down: ServerConnection) -> None:
        Relay.__init__(self, engine, down)
        self.slot: Slot | None = None
        self.held = False
        self.cold = False  # waited for a pod that had yet to start
        self.avoid = ""

    def head_for(self, slot: Slot) -> bytes:
        """The request head as it goes to that pod."""
        raise NotImplementedError

    def start(self) -> None:
        """Ask for a slot; begin now or when it is granted."""
        slot = self.admission.take(self.revision, self.avoid)
        if slot is not None:
            self.slot = slot
            self.begin(slot.address, self.head_for(slot))
            return
        if not self.body_done:
            self.down.pause_body()
        try:
            size_bytes = self.request.size_bytes + self.down.ahead_bytes
            cold = self.admission.wait(self.revision, self, deadline=self.total_at, size_bytes=size_bytes)
        except DataplaneError as error:
            self.give_up(error)
            return
        self.cold = self.cold or cold
        self.held = True

    # ---- admission → us (policy.admission.Waiter) -----------------------------------------------

    def granted(self, slot: Slot) -> None:
        self.held = False
        self.slot = slot
        self.sent_at = self._clock()
        if self.cold:
            self.waited_s = self.sent_at - self.arrived
            self.extra = b"x-dp-cold-start-ms: %d\r\n" % (self.waited_s * 1000)
        self.begin(slot.address, self.head_for(slot))

    def refused(self, error: DataplaneError) -> None:
        self.held = False
        self.give_up(error)

    # ---- client → us -----------------------------------------------------------------------------

    def on_ahead(self, size_bytes: int) -> None:
        if self.held:
            try:
                self.admission.grow(self.revision, self, size_bytes)
            except DataplaneError as error:
                self.give_up(error)

    def on_body(self, data: bytes, last: bool) -> None:
        if self.held:
            self.on_ahead(len(data))
        Relay.on_body(self, data, last)

    # ---- relay → us -------------------------------------------------------------------------------

    def _again(self) -> None:
        self.start()

    def _released(self, *, failed: bool) -> None:
        if self.held:
            self.held = False
            self.admission.abandon(self.revision, self)
        slot, self.slot = self.slot, None
        if slot is not None:
            self.avoid = slot.pod if failed else ""
            self.admission.leave(slot, failed=failed)
