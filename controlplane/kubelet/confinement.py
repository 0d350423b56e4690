"""What a container may do on this machine, and what of that cannot be held here. Pure.

Path: securityContext of pod and container → [confinement] → compose.py → drivers/nursery/spawn.py.

A user, a group or a capability that cannot be given is refused; what cannot be *kept from* the container is never
silently left out: it is in `unenforced`, and becomes an event of the pod.

Capabilities: a container has those of its user. `drop` takes some away for good, `add` gives back what `drop: [ALL]`
took. Whoever asks for a read-only root loses SYS_ADMIN, with which root could make it writable again.

Source: spec/serving.md §12.6, §12.7, §13.6 (secure-pod-defaults); capabilities(7).
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from controlplane.kubelet.refusal import CONFIG_ERROR, NotRunnable
from dataplane.resources.core import Container, Pod, SecurityContext

# linux/capability.h, in the order of their numbers
CAPABILITIES = (
    *("CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP"),
    *("LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER"),
    *("SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE"),
    *("SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP"),
    *("MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF"),
    "CHECKPOINT_RESTORE",
)
EVERYTHING = (1 << len(CAPABILITIES)) - 1
READ_ONLY_ROOT = "readOnlyRootFilesystem"  # as it is called in Driver.not_enforced


class Powers(NamedTuple):
    """Of whoever starts containers. capabilities: a mask. not_enforced: what → why, as the driver says."""

    user: int
    group: int
    groups: frozenset[int]
    capabilities: int
    not_enforced: Mapping[str, str]

    @property
    def is_root(self) -> bool:
        return self.user == 0


class Confinement(NamedTuple):
    """user, group: None = those of the driver. capabilities: a mask, None = those of the user."""

    user: int | None
    group: int | None
    groups: tuple[int, ...]
    capabilities: int | None
    no_new_privileges: bool
    read_only_root: bool
    unenforced: tuple[str, ...]


def confinement(container: Container, pod: Pod, powers: Powers) -> Confinement:
    """Raises NotRunnable: what is asked for cannot be given."""
    shared = pod.spec.security_context or {}
    own = container.security_context or SecurityContext()
    user, group = _user(container.name, own, shared, powers)
    unenforced: list[str] = []
    capabilities, sealed = _capabilities(container.name, own, powers, unenforced)
    read_only_root = bool(own.read_only_root_filesystem)
    if read_only_root and (why := powers.not_enforced.get(READ_ONLY_ROOT)):
        unenforced.append(f"{READ_ONLY_ROOT} is not enforced: {why}")
        read_only_root = False
    if profile := _seccomp(own, shared):
        unenforced.append(f"seccompProfile {profile} is not enforced: processes have no filter of system calls here")
    return Confinement(
        user=user,
        group=group,
        groups=_groups(container.name, shared, powers),
        capabilities=capabilities,
        no_new_privileges=own.allow_privilege_escalation is False or sealed,
        read_only_root=read_only_root,
        unenforced=tuple(unenforced),
    )


def own_capabilities(status: str) -> int:
    """The permitted ones, from the text of /proc/self/status."""
    for line in status.splitlines():
        if line.startswith("CapPrm:"):
            return int(line.split()[1], 16)
    return 0


def _user(
    name: str, own: SecurityContext, shared: Mapping[str, object], powers: Powers
) -> tuple[int | None, int | None]:
    """runAsUser is honoured or refused (spec §12.7), never ignored."""
    user = own.run_as_user if own.run_as_user is not None else _number(shared.get("runAsUser"))
    group = own.run_as_group if own.run_as_group is not None else _number(shared.get("runAsGroup"))
    not_root = own.run_as_non_root if own.run_as_non_root is not None else shared.get("runAsNonRoot")
    if not_root and (user == 0 or (user is None and powers.is_root)):
        raise NotRunnable(CONFIG_ERROR, "container has runAsNonRoot and would run as root", name)
    if user is not None and not powers.is_root and user != powers.user:
        message = f"runAsUser {user}: only root can start a process as another user (this is user {powers.user})"
        raise NotRunnable(CONFIG_ERROR, message, name)
    if group is not None and not powers.is_root and group != powers.group:
        raise NotRunnable(CONFIG_ERROR, f"runAsGroup {group}: only root can change the group", name)
    return user, group


def fs_group(pod: Pod) -> int | None:
    """The group that the pod's volumes belong to."""
    return _number((pod.spec.security_context or {}).get("fsGroup"))


def _groups(name: str, shared: Mapping[str, object], powers: Powers) -> tuple[int, ...]:
    named = shared.get("supplementalGroups")
    wanted = [
        number
        for one in (*(named if isinstance(named, list | tuple) else ()), shared.get("fsGroup"))
        if (number := _number(one)) is not None
    ]
    foreign = [one for one in wanted if one not in powers.groups and one != powers.group]
    if foreign and not powers.is_root:
        raise NotRunnable(CONFIG_ERROR, f"group {foreign[0]}: only root can take groups that it is not in", name)
    return tuple(dict.fromkeys(wanted))


def _capabilities(name: str, own: SecurityContext, powers: Powers, unenforced: list[str]) -> tuple[int | None, bool]:
    """(mask, whether it takes no new privileges to hold it)."""
    asked = own.capabilities
    drop, add = (_mask(asked.drop, name), _mask(asked.add, name)) if asked is not None else (0, 0)
    if missing := add & ~powers.capabilities:
        names = ", ".join(CAPABILITIES[number] for number in range(len(CAPABILITIES)) if missing >> number & 1)
        unenforced.append(f"capabilities.add {names}: dataplane does not have them itself")
    if own.read_only_root_filesystem and powers.is_root:
        drop |= 1 << CAPABILITIES.index("SYS_ADMIN")
    if not drop:
        return None, False
    return EVERYTHING & ~drop | add, not powers.capabilities >> CAPABILITIES.index("SETPCAP") & 1


def _mask(names: Iterable[str], container: str) -> int:
    mask = 0
    for name in names:
        bare = name.upper().removeprefix("CAP_")
        if bare == "ALL":
            mask |= EVERYTHING
        elif bare in CAPABILITIES:
            mask |= 1 << CAPABILITIES.index(bare)
        else:
            raise NotRunnable("CreateContainerError", f"there is no capability {name!r}", container)
    return mask


def _seccomp(own: SecurityContext, shared: Mapping[str, object]) -> str:
    """The profile that is asked for; "" when none is."""
    profile = own.seccomp_profile.type if own.seccomp_profile is not None else ""
    if not profile:
        asked = shared.get("seccompProfile")
        profile = str(asked.get("type", "")) if isinstance(asked, Mapping) else ""
    return "" if profile == "Unconfined" else profile


def _number(value: object) -> int | None:
    return value if isinstance(value, int) else None
