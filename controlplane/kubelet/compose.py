"""A Pod object → the processes to run for it, with everything resolved.

Path: pod.py → [compose] → images.py, environment.py, volumes.py → drivers/contract.py.

Pure but for ports. They are taken when the pod was composed once with placeholders: what is wrong with it is found
before, and a pod that cannot start holds none.

Source: spec/serving.md §12, §9.14, §17; architecture.md "Containers without containers".
"""

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from controlplane.drivers.contract import ContainerSpec, Mount, PodProcess
from controlplane.go_text import parse_quantity
from controlplane.kubelet import environment, images, volumes
from controlplane.kubelet.confinement import Powers, confinement, fs_group
from controlplane.kubelet.references import References
from controlplane.kubelet.refusal import CONFIG_ERROR, NotRunnable
from controlplane.kubelet.settings import KubeletSettings
from controlplane.kubelet.try_probe import Check, Exec, Grpc, Http, Tcp
from dataplane.resources.core import Container, HTTPHeader, Pod, Probe, TCPSocketAction, VolumeMount
from dataplane.resources.serving import Revision

GRACE_S = 30.0
SIDECAR = "queue-proxy"
SIDECAR_PROBE_S = 10  # a queue-proxy keeps an aggressive probe until the app answers
_ROOT = str(Path(__file__).resolve().parents[2])
_DEFAULT_READINESS = Probe(tcp_socket=TCPSocketAction(), success_threshold=1)


class Watched(NamedTuple):
    """A container's probes with their targets; None = it has none."""

    startup: tuple[Probe, Check] | None = None
    readiness: tuple[Probe, Check] | None = None
    liveness: tuple[Probe, Check] | None = None


class Folders(NamedTuple):
    """Of one pod."""

    logs: Path
    volumes: Path


class Warned(NamedTuple):
    """What the manifest asks for and does not get here, as an event. container "": the whole pod."""

    reason: str
    message: str
    container: str = ""


class Composed(NamedTuple):
    """`port`: where requests go; 0 = the pod serves nothing. `contents`: what is in which volume's folder.

    fs_group: whom the volumes belong to, None = us.
    """

    process: PodProcess
    port: int
    watched: dict[str, Watched]
    contents: dict[Path, volumes.Content]
    warnings: tuple[Warned, ...]
    fs_group: int | None


class Ground(NamedTuple):
    """What a pod stands on. no_mounts: why private mounts do not work, "" when they do."""

    settings: KubeletSettings
    no_mounts: str
    free_port: Callable[[], int]
    powers: Powers


def serving_container(pod: Pod) -> Container | None:
    """The one that declares a port, else the only one."""
    containers = pod.spec.containers
    with_port = next((c for c in containers if c.ports), None)
    return with_port or (containers[0] if len(containers) == 1 else None)


def compose(pod: Pod, refs: References, ground: Ground, folders: Folders, revision: Revision | None) -> Composed:
    """Raises NotRunnable. `revision` matters to the sidecar only."""
    served = serving_container(pod)
    count = 0 if served is None else 2 if ground.settings.sidecars else 1
    _compose(pod, refs, ground, folders, revision, (1, 2)[:count])
    try:
        ports = tuple(ground.free_port() for _ in range(count))
    except OSError as error:
        raise NotRunnable("CreateContainerError", str(error)) from error
    return _compose(pod, refs, ground, folders, revision, ports)


def _compose(
    pod: Pod, refs: References, ground: Ground, folders: Folders, revision: Revision | None, ports: tuple[int, ...]
) -> Composed:
    everybody = (*pod.spec.init_containers, *pod.spec.containers)
    contents = {
        folders.volumes / one.name: volumes.content(one, refs)
        for one in pod.spec.volumes
        if one.name in volumes.used(everybody)
    }
    programs = {c.name: images.resolve(c, ground.settings.images) for c in everybody}
    confined = {c.name: confinement(c, pod, ground.powers) for c in everybody}
    served = serving_container(pod)
    has_sidecar = ground.settings.sidecars and served is not None
    user_port = ports[0] if ports else 0

    specs = []
    watched = {}
    for container in everybody:
        port = user_port if container is served else 0
        program = programs[container.name]
        env = _environment(container, pod, refs, ground, program.env, port)
        argv = tuple(environment.expand(word, env) for word in program.argv)
        places = [_placed(mount, container, folders, contents) for mount in container.volume_mounts]
        if ground.no_mounts:
            argv = tuple(volumes.rewrite(word, places) for word in argv)
            env = {name: volumes.rewrite(value, places) for name, value in env.items()}
        env |= {volumes.variable(p.name): p.source if ground.no_mounts else p.target for p in places}
        limits = container.resources.limits
        cwd = program.working_dir or ground.settings.working_dir
        specs.append(
            ContainerSpec(
                name=container.name,
                argv=argv,
                env=env,
                cwd=volumes.rewrite(cwd, places)
                if ground.no_mounts
                else os.path.join(ground.settings.working_dir, cwd),
                log_path=str(folders.logs / f"{container.name}.log"),
                memory_bytes=int(_quantity(limits.get("memory", 0), container)),
                cpu_millis=round(_quantity(limits.get("cpu", 0), container) * 1000),
                file_bytes=int(_quantity(limits.get("ephemeral-storage", 0), container)),
                files=ground.settings.files_max,
                processes=ground.settings.processes_max,
                run_as_user=confined[container.name].user,
                run_as_group=confined[container.name].group,
                groups=confined[container.name].groups,
                capabilities=confined[container.name].capabilities,
                no_new_privileges=confined[container.name].no_new_privileges,
                read_only_root=confined[container.name].read_only_root,
                init=container in pod.spec.init_containers,
                restart=container in pod.spec.init_containers or pod.spec.restart_policy in ("", "Always"),
                mounts=()
                if ground.no_mounts
                else tuple(Mount(source=p.source, target=p.target, read_only=p.read_only) for p in places),
            )
        )
        if container in pod.spec.containers:
            watched[container.name] = _watched(
                container, port, is_served=container is served, beside_sidecar=has_sidecar
            )

    port = user_port
    if has_sidecar and served is not None:
        port = ports[1]
        specs.append(_sidecar(pod, served, revision, ground, folders, user_port=user_port, port=port))
        headers = (HTTPHeader(name="K-Network-Probe", value="queue"),)
        probe = Probe(success_threshold=1, timeout_seconds=SIDECAR_PROBE_S)
        watched[SIDECAR] = Watched(readiness=(probe, Http("127.0.0.1", port, "/", headers=headers)))

    grace = pod.spec.termination_grace_period_seconds
    process = PodProcess(
        uid=pod.metadata.uid,
        name=pod.metadata.name,
        namespace=pod.metadata.namespace,
        containers=tuple(specs),
        grace_s=GRACE_S if grace is None else float(grace),
        ports=ports,
    )
    warnings = [
        Warned("NotEnforced", text, c.name)
        for c in everybody
        for text in (*confined[c.name].unenforced, *_unheld_limits(c, ground.powers))
    ]
    warnings += [
        Warned("NotEnforced", f'emptyDir "{one.name}": medium Memory is kept on disk')
        for one in pod.spec.volumes
        if one.empty_dir is not None and one.empty_dir.medium == "Memory" and folders.volumes / one.name in contents
    ]
    if ground.no_mounts and any(c.volume_mounts for c in everybody):
        text = f"containers cannot have mounts of their own here ({ground.no_mounts}): mount paths in commands"
        warnings.append(Warned("MountsRewritten", text + " and variables are replaced"))
    return Composed(process, port, watched, contents, tuple(warnings), fs_group(pod))


def _environment(
    container: Container, pod: Pod, refs: References, ground: Ground, image_env: Mapping[str, str], port: int
) -> dict[str, str]:
    base = {**ground.settings.host_env, "HOSTNAME": pod.metadata.name, **image_env}
    fixed = environment.contract(pod)
    if port:
        fixed["PORT"] = str(port)
    try:
        return environment.environment(container, refs, base=base, fixed=fixed)
    except NotRunnable as why:
        raise NotRunnable(why.reason, why.message, container.name) from why


def _placed(
    mount: VolumeMount, container: Container, folders: Folders, contents: Mapping[Path, volumes.Content]
) -> volumes.Placed:
    folder = folders.volumes / mount.name
    if folder not in contents:
        raise NotRunnable(CONFIG_ERROR, f'volumeMount "{mount.name}" names no volume', container.name)
    is_empty_dir = contents[folder].files is None
    placed = volumes.place(mount, str(folder))
    return placed._replace(read_only=placed.read_only or not is_empty_dir)


def _quantity(value: str | float, container: Container) -> float:
    try:
        return parse_quantity(value)
    except ValueError as error:
        raise NotRunnable(CONFIG_ERROR, f"resources.limits: {error}", container.name) from error


def _unheld_limits(container: Container, powers: Powers) -> list[str]:
    """Limits that the manifest asks for and this machine does not hold."""
    limits, missing = container.resources.limits, powers.not_enforced
    found = []
    if limits.get("memory") and (why := missing.get("memory")):
        found.append(f"limits.memory is watched ten times a second instead of enforced: {why}")
    if limits.get("cpu") and (why := missing.get("cpu")):
        found.append(f"limits.cpu is not enforced: {why}")
    return found


# --- probes ---


def _watched(container: Container, port: int, *, is_served: bool, beside_sidecar: bool) -> Watched:
    readiness = container.readiness_probe
    if is_served and readiness is None:
        readiness = _DEFAULT_READINESS
    if is_served and beside_sidecar and readiness is not None and readiness.exec is None:
        readiness = None  # the queue-proxy asks
    return Watched(
        startup=_target(container.startup_probe, container, port),
        readiness=_target(readiness, container, port),
        liveness=_target(container.liveness_probe, container, port),
    )


def _target(probe: Probe | None, container: Container, port: int) -> tuple[Probe, Check] | None:
    if probe is None:
        return None
    if (http := probe.http_get) is not None:
        path, tls = http.path or "/", http.scheme.upper() == "HTTPS"
        check: Check = Http(http.host or "127.0.0.1", _port(http.port, container, port), path, tls, http.http_headers)
    elif (tcp := probe.tcp_socket) is not None:
        check = Tcp(tcp.host or "127.0.0.1", _port(tcp.port, container, port))
    elif probe.exec is not None:
        check = Exec(probe.exec.command)
    elif probe.grpc is not None:
        check = Grpc(_port(probe.grpc.port, container, port), probe.grpc.service or "")
    else:
        check = Tcp("127.0.0.1", _port(0, container, port))
    return probe, check


def _port(wanted: int | str, container: Container, port: int) -> int:
    """The logical port of the serving container (by number, name, or none) → its real one."""
    if isinstance(wanted, str) and wanted.isdigit():
        wanted = int(wanted)
    if isinstance(wanted, str):
        named = next((p.container_port for p in container.ports if p.name == wanted), 0)
        wanted = named
    declared = [p.container_port for p in container.ports]
    if port and (wanted == 0 or wanted in declared or (not declared and wanted == 8080)):
        return port
    return wanted


# --- the queue-proxy ---


def _sidecar(
    pod: Pod,
    served: Container,
    revision: Revision | None,
    ground: Ground,
    folders: Folders,
    *,
    user_port: int,
    port: int,
) -> ContainerSpec:
    contract = environment.contract(pod)
    spec = revision.spec if revision is not None else None
    asked = served.readiness_probe or _DEFAULT_READINESS
    if asked.exec is not None:  # the kubelet runs commands; the queue-proxy sees whether the port is open
        asked = replace(asked, exec=None, tcp_socket=TCPSocketAction())
    target = _target(asked, served, user_port)
    assert target is not None
    env = {
        **ground.settings.host_env,
        "PYTHONPATH": os.pathsep.join(filter(None, (_ROOT, os.environ.get("PYTHONPATH")))),
        "CONTAINER_CONCURRENCY": str((spec and spec.container_concurrency) or 0),
        "QUEUE_SERVING_PORT": str(port),
        "QUEUE_ADMIN_PORT": "0",
        "QUEUE_METRICS_PORT": "0",
        "DRAIN_QUIET_S": "1",  # routes have let go of the pod before it is told to stop
        "USER_PORT": str(user_port),
        "REVISION_TIMEOUT_SECONDS": str((spec and spec.timeout_seconds) or 0),
        "REVISION_RESPONSE_START_TIMEOUT_SECONDS": str((spec and spec.response_start_timeout_seconds) or 0),
        "REVISION_IDLE_TIMEOUT_SECONDS": str((spec and spec.idle_timeout_seconds) or 0),
        "SERVING_READINESS_PROBE": msgspec.json.encode(_rewired(asked, target[1])).decode(),
        "ENABLE_HTTP_FULL_DUPLEX": "true",
        "SERVING_NAMESPACE": pod.metadata.namespace,
        "SERVING_SERVICE": contract.get("K_SERVICE", ""),
        "SERVING_CONFIGURATION": contract.get("K_CONFIGURATION", ""),
        "SERVING_REVISION": contract.get("K_REVISION", ""),
        "SERVING_POD": pod.metadata.uid,
        "SERVING_POD_IP": "127.0.0.1",
        "HOST_IP": "127.0.0.1",
    }
    return ContainerSpec(
        name=SIDECAR,
        argv=(sys.executable, "-m", "launch", "queueproxy"),
        env=env,
        cwd=ground.settings.working_dir,
        log_path=str(folders.logs / f"{SIDECAR}.log"),
        files=ground.settings.files_max,
        sidecar=True,
    )


def _rewired(probe: Probe, check: Check) -> Probe:
    """The same probe with the real port."""
    if isinstance(check, Http) and probe.http_get is not None:
        return replace(probe, http_get=replace(probe.http_get, port=check.port))
    if isinstance(check, Tcp):
        return replace(probe, tcp_socket=TCPSocketAction(port=check.port, host=check.host))
    if isinstance(check, Grpc) and probe.grpc is not None:
        return replace(probe, grpc=replace(probe.grpc, port=check.port))
    return probe
