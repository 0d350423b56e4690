"""Orders from the driver, pods, and reports back; when the driver is gone, so is everything.

Path: drivers/process.py ⇄ [supervise] → pod.py → container.py.

The control socket is the life line: its end (the driver closed it, crashed, or was killed with -9) kills every pod at
once. The nursery never waits for the driver: a report is made when the socket takes it, and always shows the present.

Source: reliability.md LP-01; design/ecosystem.md §0.4.
"""

import gc
import os
import signal
import socket

from controlplane.drivers.nursery import cgroup, family, linux, trial
from controlplane.drivers.nursery.container import Life, Machine
from controlplane.drivers.nursery.frames import Frame, Lines, encode
from controlplane.drivers.nursery.loop import Loop, Timer
from controlplane.drivers.nursery.messages import Settings, pod
from controlplane.drivers.nursery.pod import PodLife
from controlplane.drivers.nursery.spare import Spares
from dataplane.clock import SYSTEM, Clock

CLOSE_S = 5.0  # after SIGKILL to everything, this long for the kernel to be done
READ_BYTES = 256 << 10
TIMED_OUT = 124


class Nursery:
    """Owns every container of one driver."""

    __slots__ = ("_socket", "_clock", "_loop", "_lines", "_out", "_machine", "_pods", "_dirty", "_execs")

    def __init__(self, control: socket.socket, clock: Clock = SYSTEM) -> None:
        self._socket = control
        self._clock = clock
        self._loop = Loop(clock)
        self._lines = Lines()
        self._out = bytearray()
        self._machine: Machine | None = None
        self._pods: dict[str, PodLife] = {}
        self._dirty: dict[str, None] = {}
        self._execs: dict[int, Timer] = {}

    def run(self) -> None:
        """Returns when the control socket has ended and nothing is left."""
        linux.become_subreaper()
        _ignore_nothing()
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # the driver decides
        signal.signal(signal.SIGTERM, self._on_sigterm)
        self._socket.setblocking(False)
        self._loop.watch(self._socket.fileno(), self._on_socket)
        gc.freeze()  # pages stay shared with forked children
        self._loop.run()
        self._loop.unwatch(self._socket.fileno())
        self._socket.close()
        self._end_everything()

    # --- driver → us ---

    def _on_socket(self) -> None:
        try:
            while True:
                data = self._socket.recv(READ_BYTES)
                if not data:
                    self._loop.stopping = True
                    return
                for frame in self._lines.feed(data):
                    self._order(frame)
        except BlockingIOError:
            pass
        except (OSError, ValueError):
            self._loop.stopping = True
            return
        self._flush()

    def _order(self, frame: Frame) -> None:
        op = frame["op"]
        if op == "settings":
            self._say(self._hello(Settings(**frame["settings"])))
        elif op == "start":
            self._start(frame)
        elif op == "stop" and frame["uid"] in self._pods:
            self._pods[frame["uid"]].stop(frame["grace_s"])
        elif op == "restart" and frame["uid"] in self._pods:
            life = self._pods[frame["uid"]].life(frame["container"])
            if life is not None:
                life.terminate(frame["grace_s"], for_good=False)
        elif op == "exec":
            self._exec(frame)

    def _hello(self, settings: Settings) -> Frame:
        groups = cgroup.none("switched off")
        if settings.cgroups:
            groups = cgroup.detect(settings.instance)
        killed = groups.sweep() + family.sweep(settings.instance)
        spares = Spares(self._loop, groups, wanted=settings.spare)
        self._machine = Machine(self._loop, self._clock, settings, groups, spares, set())
        spares.refill()
        why = trial.why_no_mounts(settings.staging)
        missing = dict(groups.missing)
        if writable := why or trial.why_no_read_only_root(settings.staging):
            missing["readOnlyRootFilesystem"] = writable
        return {"op": "hello", "pid": os.getpid(), "no_mounts": why, "not_enforced": missing, "swept": killed}

    def _start(self, frame: Frame) -> None:
        assert self._machine is not None
        spec = pod(frame["pod"])
        if spec.uid not in self._pods:
            life = self._pods[spec.uid] = PodLife(spec, self._machine, self._changed)
            life.start()

    def _exec(self, frame: Frame) -> None:
        one = self._pods.get(frame["uid"])
        life: Life | None = one.life(frame["container"]) if one else None
        reply: Frame = {"op": "exec", "id": frame["id"], "code": 126}
        if life is None or life.state != "running":
            return self._say(reply)
        try:
            pid = life.command(tuple(frame["argv"]))
        except OSError:
            return self._say(reply)

        def late() -> None:
            reply["code"] = TIMED_OUT
            family.kill(family.tree(pid))

        def ended(status: int) -> None:
            timer = self._execs.pop(pid)
            if timer.call is not None and reply["code"] != TIMED_OUT:
                timer.call = None
                code = os.waitstatus_to_exitcode(status)
                reply["code"] = 128 - code if code < 0 else code
            self._say(reply)
            self._flush()

        self._execs[pid] = self._loop.after(frame["timeout_s"], late)
        self._loop.children[pid] = ended

    # --- us → driver ---

    def _changed(self, one: PodLife) -> None:
        if one.spec.uid in self._pods:
            self._dirty[one.spec.uid] = None
            self._flush()

    def _say(self, frame: Frame) -> None:
        self._out += encode(frame)

    def _flush(self) -> None:
        """Send while the socket takes it; reports of pods are made only then."""
        try:
            while self._out or self._dirty:
                if not self._out:
                    uid = next(iter(self._dirty))
                    del self._dirty[uid]
                    one = self._pods[uid]
                    self._say(one.report())
                    if one.gone:
                        del self._pods[uid]
                del self._out[: self._socket.send(self._out)]
            if not self._loop.stopping:
                self._loop.watch(self._socket.fileno(), self._on_socket)
        except BlockingIOError:
            self._loop.watch(self._socket.fileno(), self._on_writable, write=True)
        except OSError:
            self._loop.stopping = True

    def _on_writable(self) -> None:
        self._flush()
        self._on_socket()

    # --- the end ---

    def _on_sigterm(self, *_: object) -> None:
        self._loop.stopping = True

    def _end_everything(self) -> None:
        self._dirty.clear()
        if self._machine is not None:
            self._machine.spares.close()
        for one in self._pods.values():
            one.kill()
        deadline = self._clock.monotonic() + CLOSE_S
        while (left := family.tree(os.getpid())[1:]) and self._clock.monotonic() < deadline:
            family.kill(left)
            self._loop.after(0.005, lambda: None)
            self._loop.turn()
        if self._machine is not None:
            self._machine.cgroups.close()


def _ignore_nothing() -> None:
    """What a shell has ignored for us in its background (SIGQUIT), or a parent for its own sake, no container has asked
    for. What Python ignores stays as it is here: each child undoes that for itself."""
    for number in signal.valid_signals() - {signal.SIGPIPE, signal.SIGXFSZ}:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
