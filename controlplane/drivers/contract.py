"""What a driver promises: start, stop, list and report pods. The default runs them as local processes.

Path: reconcile/replicas.py creates Pod objects → kubelet.py → [driver] → processes → reports → kubelet.py → pod status.

The driver knows containers, not Knative: probes, readiness, environment and
volumes are decided before it.

Source: architecture.md "The four contracts" 4; reliability.md LP-01…LP-09.
"""

from collections.abc import Callable
from typing import Literal, Protocol

import msgspec


class Mount(msgspec.Struct, frozen=True, kw_only=True):
    """A file or directory that the container sees at `target`; only while `Driver.no_mounts` is empty."""

    source: str
    target: str
    read_only: bool = True


class ContainerSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One process to run. `argv[0]` is looked up in the env's PATH. Limits: 0 = none.

    groups: supplementary ones. capabilities: a mask of those that it may have, None = those that its user has.
    read_only_root: it writes to its writable mounts only.
    """

    name: str
    argv: tuple[str, ...]
    env: dict[str, str]
    cwd: str = ""
    log_path: str = ""  # stdout and stderr, rotated: log_path, log_path.1
    memory_bytes: int = 0
    cpu_millis: int = 0
    files: int = 0
    processes: int = 0
    file_bytes: int = 0  # the largest file it may write
    run_as_user: int | None = None
    run_as_group: int | None = None
    groups: tuple[int, ...] = ()
    capabilities: int | None = None
    no_new_privileges: bool = False
    read_only_root: bool = False
    init: bool = False  # runs to completion, in order, before the others start
    restart: bool = True  # restarted with crash back-off (10 s … 300 s, reset after 10 min healthy)
    sidecar: bool = False  # stopped after the others have ended, within a second
    mounts: tuple[Mount, ...] = ()


class PodProcess(msgspec.Struct, frozen=True, kw_only=True):
    """A pod as the driver sees it. `uid` is the identity."""

    uid: str
    name: str
    namespace: str
    containers: tuple[ContainerSpec, ...]
    grace_s: float = 30.0
    ports: tuple[int, ...] = ()  # from `Driver.free_port`; given back when the pod is gone


class ContainerReport(msgspec.Struct, frozen=True, kw_only=True):
    """Present state of one container. Times are wall seconds; `exit_code` is 128+signal when killed by one."""

    name: str
    state: Literal["waiting", "running", "terminated"]
    reason: str = ""  # Completed, Error, OOMKilled, ContainerCannotRun, CrashLoopBackOff, PodInitializing …
    message: str = ""  # the last log lines when it failed
    pid: int = 0
    exit_code: int | None = None
    signal: int = 0
    started_at: float = 0.0
    finished_at: float = 0.0
    restarts: int = 0
    last_exit_code: int | None = None
    last_reason: str = ""
    last_message: str = ""
    last_started_at: float = 0.0
    last_finished_at: float = 0.0
    dropped_bytes: int = 0  # of output, over the rate that is kept


class PodReport(msgspec.Struct, frozen=True, kw_only=True):
    """A change of a pod. `gone`: every process of it has ended and will not be restarted."""

    uid: str
    containers: tuple[ContainerReport, ...]
    gone: bool = False


Reporter = Callable[[PodReport], None]


class Driver(Protocol):
    @property
    def no_mounts(self) -> str:
        """Why containers cannot have mounts of their own; "" when they can. Known after `open`."""
        ...

    @property
    def not_enforced(self) -> dict[str, str]:
        """What is not enforced here (pids, memory, cpu, readOnlyRootFilesystem) → why not. Known after `open`."""
        ...

    async def open(self, reporter: Reporter) -> None:
        """Get ready; `reporter` is called on the loop, never blocks, never raises."""
        ...

    def free_port(self) -> int:
        """A TCP port that nothing uses and that is not given out again while its pod (PodProcess.ports) lives.

        Raises OSError when there is none.
        """
        ...

    def give_back(self, ports: tuple[int, ...]) -> None:
        """Ports of a pod that was never started."""
        ...

    def is_free(self, port: int) -> bool:
        """Whether a server could bind it now."""
        ...

    def start(self, pod: PodProcess) -> None:
        """Returns at once; the outcome is reported. The same uid twice is ignored."""
        ...

    def stop(self, uid: str, *, grace_s: float | None = None) -> None:
        """SIGTERM to every container's group, SIGKILL after the grace period. Reported with `gone` at the end."""
        ...

    def restart(self, uid: str, container: str, reason: str) -> None:
        """A liveness probe failed: stop one container and let it start again."""
        ...

    async def exec(self, uid: str, container: str, argv: tuple[str, ...], deadline: float) -> int:
        """Run a command in the container's environment; its exit code (124 past the deadline)."""
        ...

    def reports(self) -> list[PodReport]: ...

    async def close(self) -> None:
        """Stop every pod within its grace period and leave no process behind."""
        ...
