"""One container: its runs, how each ended, and when the next begins.

Path: pod.py → [container] → spawn.py, output.py, cgroup.py, family.py.

    waiting ──start──→ starting ──exec worked──→ running ──its process ended──→ ending ──nobody left──→ settled
       ↑                   └──────refused────────────────────────────────────────↑                         │
       └────────────────────────────── back-off, while it may be restarted ────────────────────────────────┤
                                                                                        terminated ←───────┘

A run has ended only when its process *and everything that came from it* are gone, so a restart never meets its own
predecessor, and a stopped pod leaves nothing.

Source: reliability.md LP-02, LP-04, LP-05, LP-07, LP-09; Kubernetes' container states.
"""

import os
import signal
from collections.abc import Callable
from typing import Literal, NamedTuple

from controlplane.drivers.nursery import family, output, spawn
from controlplane.drivers.nursery.backoff import Backoff
from controlplane.drivers.nursery.cgroup import Cgroups, Group
from controlplane.drivers.nursery.frames import Frame
from controlplane.drivers.nursery.loop import Loop, Timer
from controlplane.drivers.nursery.messages import Container as Spec
from controlplane.drivers.nursery.messages import Settings
from controlplane.drivers.nursery.spare import Spares
from dataplane.clock import Clock

MEMORY_WATCH_S = 0.1
SPARE_DATA_BYTES = 64 << 20
LINGER_S = (0.002, 0.05, 10.0)  # first and longest pause between looks for survivors, and when to give up
DROP_REPORT_S = 1.0


class Machine(NamedTuple):
    """What all containers of a nursery share. `live` is every container that has a process."""

    loop: Loop
    clock: Clock
    settings: Settings
    cgroups: Cgroups
    spares: Spares
    live: set["Life"]


class Ended(NamedTuple):
    """Times are wall seconds."""

    exit_code: int
    signal: int
    reason: str
    message: str
    started_at: float
    finished_at: float


State = Literal["waiting", "starting", "running", "ending", "terminated"]


class Life:
    """`changed` is called after each step that a report shows."""

    __slots__ = (
        *("spec", "state", "reason", "message", "pid", "restarts", "ended", "last", "started_at", "dropped_bytes"),
        *("_uid", "_machine", "_changed", "_backoff", "_output", "_output_fd", "_error_fd", "_group", "_refusal"),
        *("_status", "_began", "_born", "_over", "_finished", "_timer", "_watch", "_linger_s", "_lingered_s"),
    )

    def __init__(self, spec: Spec, uid: str, machine: Machine, changed: Callable[[], None]) -> None:
        self.spec = spec
        self.state: State = "waiting"
        self.reason = "ContainerCreating"
        self.message = ""
        self.pid = 0
        self.restarts = 0
        self.ended: Ended | None = None  # while terminated
        self.last: Ended | None = None  # the run before
        self.started_at = 0.0
        self.dropped_bytes = 0
        self._uid = uid
        self._machine = machine
        self._changed = changed
        settings = machine.settings
        self._backoff = Backoff(
            first_s=settings.backoff_first_s, max_s=settings.backoff_max_s, healthy_s=settings.healthy_s
        )
        self._output: output.Output | None = None
        self._output_fd = self._error_fd = -1
        self._group: Group | None = None
        self._refusal: spawn.Refusal | None = None
        self._status = 0
        self._began = 0.0
        self._born = 0
        self._over = False  # over its memory limit: killed by us
        self._finished = False  # never start again
        self._timer: Timer | None = None  # back-off while waiting; SIGKILL while running
        self._watch: Timer | None = None
        self._linger_s = self._lingered_s = 0.0

    @property
    def idle(self) -> bool:
        """Not started yet."""
        return self.state == "waiting" and self.restarts == 0 and self.last is None and not self._finished

    @property
    def stopping(self) -> bool:
        """It will not be started again."""
        return self._finished

    @property
    def mark(self) -> str:
        return family.mark(self._machine.settings.instance, self._uid, self.spec.name)

    # --- orders ---

    def start(self) -> None:
        machine, spec = self._machine, self.spec
        self._timer = None
        self._refusal, self._status, self._over = None, 0, False
        self._linger_s = self._lingered_s = 0.0
        self._began, self.started_at = machine.clock.monotonic(), machine.clock.wall()
        limits = output.Limits(machine.settings.log_file_bytes, machine.settings.log_rate_bytes_per_s)
        self._output = output.Output(spec.log_path, limits, machine.clock)
        self._output_fd, write_fd = self._output.open()
        try:
            spawned = self._spawn(write_fd)
        except OSError as error:
            self._refusal = spawn.Refusal(spawn.NOT_STARTED, f"cannot start: {error.strerror or error}")
            self.state = "ending"
            self._timer = machine.loop.after(0.0, self._settle)
            return
        finally:
            os.close(write_fd)
        self.state = "starting"
        self.pid, self._error_fd = spawned.pid, spawned.error_fd
        self._born = family.now()
        machine.live.add(self)
        machine.loop.children[self.pid] = self._on_exit
        machine.loop.watch(self._error_fd, self._on_exec)
        machine.loop.watch(self._output_fd, self._on_output)
        if self._watches_memory:
            self._watch = machine.loop.after(MEMORY_WATCH_S, self._on_watch)

    def terminate(self, grace_s: float, *, for_good: bool) -> None:
        """SIGTERM now, SIGKILL after the grace period. `for_good`: no restart after this."""
        self._finished = self._finished or for_good
        if self.state in ("starting", "running"):
            self._signal(signal.SIGTERM)
            if self._timer is not None:
                self._timer.call = None
            self._timer = self._machine.loop.after(grace_s, self.kill)
        elif self.state == "waiting" and for_good:
            if self._timer is not None:
                self._timer.call = None
            self.state, self.reason, self.message = "terminated", "", ""
            self.ended = self.last
            self._changed()

    def kill(self) -> None:
        """SIGKILL to everything of this run."""
        if self.pid:
            members = self._group.kill() if self._group else ()
            family.kill({*members, *family.tree(self.pid)})
            self._signal(signal.SIGKILL)

    def command(self, argv: tuple[str, ...]) -> int:
        """Start a command beside the running container; its pid. Raises OSError."""
        null_fd = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        try:
            spawned = spawn.spawn(
                spawn.Order(
                    self.spec._replace(argv=argv, env={**self.spec.env, family.MARK: self.mark}),
                    inside=self.pid if self.spec.mounts else 0,
                    counted=self._is_counted,
                ),
                output_fd=null_fd,
                entrances=self._group.entrances if self._group else (),
            )
        finally:
            os.close(null_fd)
        os.close(spawned.error_fd)  # a refusal is an exit code like any other
        return spawned.pid

    def report(self) -> Frame:
        """controlplane.drivers.contract.ContainerReport."""
        shown: Frame = {"name": self.spec.name, "restarts": self.restarts, "dropped_bytes": self.dropped_bytes}
        if self.last is not None:
            shown |= {
                "last_exit_code": self.last.exit_code,
                "last_reason": self.last.reason,
                "last_message": self.last.message,
                "last_started_at": self.last.started_at,
                "last_finished_at": self.last.finished_at,
            }
        if self.state == "terminated" and self.ended is not None:
            return shown | {"state": "terminated", **self.ended._asdict()}
        if self.state == "running" or (self.state == "ending" and self._refusal is None):
            return shown | {"state": "running", "pid": self.pid, "started_at": self.started_at}
        state = "terminated" if self.state == "terminated" else "waiting"
        return shown | {"state": state, "reason": self.reason, "message": self.message}

    # --- what happens to it ---

    def _on_exec(self) -> None:
        try:
            data = os.read(self._error_fd, 8192)
        except BlockingIOError:
            return
        self._machine.loop.unwatch(self._error_fd)
        os.close(self._error_fd)
        self._error_fd = -1
        self._refusal = spawn.refusal(data)
        if self._refusal is None:
            self.state, self.reason, self.message = "running", "", ""
            self._changed()

    def _on_output(self) -> None:
        assert self._output is not None
        if not self._output.pump():
            self._unwatch_output()
        elif self._output.dropped_bytes and self._watch is None:
            self._watch = self._machine.loop.after(DROP_REPORT_S, self._on_watch)

    def _on_watch(self) -> None:
        """Once in a while: drops that are worth a report, memory when no cgroup looks after it."""
        self._watch = None
        if self._output is not None and self._output.dropped_bytes:
            self.dropped_bytes += self._output.dropped_bytes
            self._output.dropped_bytes = 0
            self._changed()
        if self._watches_memory and self.state in ("starting", "running"):
            if family.resident_bytes(family.tree(self.pid)) > self.spec.memory_bytes:
                self._over = True
                self.kill()
            else:
                self._watch = self._machine.loop.after(MEMORY_WATCH_S, self._on_watch)

    def _on_exit(self, status: int) -> None:
        if self._error_fd >= 0:
            self._on_exec()
        self._status = status
        self.state = "ending"
        if self._timer is not None:
            self._timer.call = None
        self._end()

    def _end(self) -> None:
        """Kill who is left, look again soon; then settle."""
        survivors = self._survivors()
        if survivors and self._lingered_s < LINGER_S[2]:
            family.kill(survivors)
            self._linger_s = min(LINGER_S[1], 2 * self._linger_s) or LINGER_S[0]
            self._lingered_s += self._linger_s
            self._timer = self._machine.loop.after(self._linger_s, self._end)
        else:
            self._settle()

    def _survivors(self) -> list[int]:
        members = self._group.kill() if self._group else []
        machine = self._machine
        ours = {life.pid for life in machine.live}
        for pid in family.children(os.getpid()):
            if pid in ours or pid in machine.loop.children:
                continue
            marked = family.mark_of(pid)
            if marked == self.mark or (not marked and self._is_parent_of(pid)):
                members += family.tree(pid)
        return members

    def _is_parent_of(self, runaway: int) -> bool:
        """No mark: it is ours by session, or when no other container is old enough to have started it."""
        sid = family.session(runaway)
        if sid == self.pid:
            return True
        others = [life for life in self._machine.live if life is not self]
        born = family.born(runaway)
        return all(sid != life.pid and life._born > born for life in others) and born >= self._born

    def _settle(self) -> None:
        machine = self._machine
        assert self._output is not None
        if self._watch is not None:
            self._watch.call = None
            self._watch = None
        self._output.drain()
        run = self._verdict()
        self.dropped_bytes += self._output.dropped_bytes
        self._unwatch_output()
        self._output.close()
        self._output = None
        self._release_group()
        machine.live.discard(self)
        self.pid = 0
        if self._finished or (self.spec.init and run.exit_code == 0) or not self.spec.restart:
            self.state, self.ended, self._timer = "terminated", run, None
            self._changed()
            return
        self.last = run
        self.restarts += 1
        delay_s = self._backoff.ended(machine.clock.monotonic() - self._began)
        self.state = "waiting"
        if delay_s == 0.0:
            self.reason = "ContainerCreating"
            self._timer = machine.loop.after(0.0, self.start)
        else:
            self.reason = "CrashLoopBackOff"
            self.message = f"back-off {delay_s:g}s restarting failed container={self.spec.name}"
            self._timer = machine.loop.after(delay_s, self.start)
        self._changed()

    # --- helpers ---

    @property
    def _watches_memory(self) -> bool:
        return self.spec.memory_bytes > 0 and (self._group is None or "memory" not in self._group.paths)

    @property
    def _is_counted(self) -> bool:
        return self._group is not None and "pids" in self._group.paths

    def _spawn(self, output_fd: int) -> spawn.Spawned:
        """The spare, or a fork when there is none. Raises OSError."""
        machine, spec = self._machine, self.spec
        has_memory = "memory" in machine.cgroups.bases
        order = spawn.Order(
            spec._replace(env={**spec.env, family.MARK: self.mark}),
            data_bytes=2 * spec.memory_bytes + SPARE_DATA_BYTES if spec.memory_bytes and not has_memory else 0,
            staging=machine.settings.staging,
            counted="pids" in machine.cgroups.bases,
        )
        if spare := machine.spares.take():
            self._group = spare.group
            try:
                self._limit_group(spare.group)
                return spare.become(order, output_fd=output_fd)
            except OSError:
                spare.discard()
                raise
        # Always in `pids` where it exists: that is how nobody gets away; and in `cpu`: all processes of a container
        # together get the share of one, so a bomb does not starve the machine.
        wanted = ("pids", "cpu", *(("memory",) if spec.memory_bytes else ()))
        self._group = machine.cgroups.make(f"{self._uid}-{spec.name}", wanted=wanted)
        if self._group is not None:
            self._limit_group(self._group)
        return spawn.spawn(order, output_fd=output_fd, entrances=self._group.entrances if self._group else ())

    def _limit_group(self, group: Group) -> None:
        spec, has = self.spec, group.paths
        group.limit(
            memory_bytes=spec.memory_bytes if "memory" in has else 0,
            cpu_millis=spec.cpu_millis if "cpu" in has else 0,
            processes=spec.processes if "pids" in has else 0,
        )

    def _release_group(self) -> None:
        group, self._group = self._group, None
        if group is not None and not group.remove():
            self._machine.loop.after(0.1, lambda: void(group.remove()))

    def _verdict(self) -> Ended:
        finished_at = self._machine.clock.wall()
        if self._refusal is not None:
            code, message = self._refusal
            return Ended(code, 0, "ContainerCannotRun", message, self.started_at, finished_at)
        code = os.waitstatus_to_exitcode(self._status)
        number = -code if code < 0 else 0
        code = 128 + number if number else code
        out_of_memory = self._over or (self._group is not None and self._group.ran_out_of_memory())
        reason = "Completed" if code == 0 else "OOMKilled" if out_of_memory else "Error"
        assert self._output is not None
        return Ended(code, number, reason, self._output.tail() if code else "", self.started_at, finished_at)

    def _unwatch_output(self) -> None:
        if self._output_fd >= 0:
            self._machine.loop.unwatch(self._output_fd)
            self._output_fd = -1

    def _signal(self, number: signal.Signals) -> None:
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:  # it has not become a group yet
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                pass


def void(_: object) -> None:
    """For callbacks whose answer nobody wants."""
