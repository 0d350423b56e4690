"""What a container may do here: given, refused, or said to be unheld; never left out silently."""

import pytest

from controlplane.kubelet.confinement import CAPABILITIES, EVERYTHING, Powers, confinement, own_capabilities
from controlplane.kubelet.refusal import NotRunnable
from dataplane.resources.core import Capabilities, Container, Pod, PodSpec, SeccompProfile, SecurityContext

ROOT = Powers(user=0, group=0, groups=frozenset({0}), capabilities=EVERYTHING, not_enforced={})
ADA = Powers(user=1000, group=1000, groups=frozenset({1000, 50}), capabilities=0, not_enforced={})


def bit(name: str) -> int:
    return 1 << CAPABILITIES.index(name)


def confined(powers: Powers, *, pod: dict | None = None, **own):
    container = Container(name="main", security_context=SecurityContext(**own))
    return confinement(container, Pod(spec=PodSpec(containers=(container,), security_context=pod)), powers)


def test_nothing_asked_for_is_nothing_taken_away():
    found = confined(ROOT)
    assert found == (None, None, (), None, False, False, ())


def test_the_numbers_are_those_of_the_kernel():
    assert (CAPABILITIES[0], CAPABILITIES[10], CAPABILITIES[21], CAPABILITIES[40]) == (
        "CHOWN",
        "NET_BIND_SERVICE",
        "SYS_ADMIN",
        "CHECKPOINT_RESTORE",
    )
    assert own_capabilities("Name:\tx\nCapPrm:\t0000000000000401\n") == bit("CHOWN") | bit("NET_BIND_SERVICE")


def test_drop_takes_away_and_add_gives_back():
    assert confined(ROOT, capabilities=Capabilities(drop=("ALL",))).capabilities == 0
    kept = confined(ROOT, capabilities=Capabilities(drop=("all",), add=("NET_BIND_SERVICE",))).capabilities
    assert kept == bit("NET_BIND_SERVICE")
    kept = confined(ROOT, capabilities=Capabilities(drop=("NET_RAW", "CAP_CHOWN"))).capabilities
    assert kept == EVERYTHING & ~bit("NET_RAW") & ~bit("CHOWN")


def test_a_capability_that_does_not_exist_is_refused():
    with pytest.raises(NotRunnable, match="there is no capability 'FLY'") as refused:
        confined(ROOT, capabilities=Capabilities(drop=("FLY",)))
    assert refused.value.reason == "CreateContainerError"


def test_a_capability_that_we_do_not_have_is_said_not_to_be_given():
    found = confined(ADA, capabilities=Capabilities(add=("NET_ADMIN",)))
    assert found.unenforced == ("capabilities.add NET_ADMIN: dataplane does not have them itself",)
    assert confined(ROOT, capabilities=Capabilities(add=("NET_ADMIN",))).unenforced == ()


def test_who_cannot_shrink_the_bounding_set_takes_no_new_privileges_instead():
    assert confined(ADA, capabilities=Capabilities(drop=("ALL",))).no_new_privileges
    assert not confined(ROOT, capabilities=Capabilities(drop=("ALL",))).no_new_privileges
    assert not confined(ADA).no_new_privileges
    assert confined(ROOT, allow_privilege_escalation=False).no_new_privileges


def test_a_read_only_root_is_held_or_told():
    found = confined(ROOT, read_only_root_filesystem=True)
    assert found.read_only_root
    assert found.capabilities == EVERYTHING & ~bit("SYS_ADMIN")  # it could make it writable again
    assert confined(ADA, read_only_root_filesystem=True).capabilities is None
    kept = confined(ROOT, read_only_root_filesystem=True, capabilities=Capabilities(add=("SYS_ADMIN",))).capabilities
    assert kept == EVERYTHING
    powers = ROOT._replace(not_enforced={"readOnlyRootFilesystem": "no mounts here"})
    found = confined(powers, read_only_root_filesystem=True)
    assert not found.read_only_root
    assert found.unenforced == ("readOnlyRootFilesystem is not enforced: no mounts here",)


def test_a_seccomp_profile_is_said_not_to_be_held():
    said = ("seccompProfile RuntimeDefault is not enforced: processes have no filter of system calls here",)
    assert confined(ROOT, seccomp_profile=SeccompProfile(type="RuntimeDefault")).unenforced == said
    assert confined(ROOT, pod={"seccompProfile": {"type": "RuntimeDefault"}}).unenforced == said
    assert confined(ROOT, seccomp_profile=SeccompProfile(type="Unconfined")).unenforced == ()


def test_the_containers_own_user_wins_over_the_pods():
    found = confined(ROOT, pod={"runAsUser": 7, "runAsGroup": 8}, run_as_user=9)
    assert (found.user, found.group) == (9, 8)


def test_a_user_or_group_that_cannot_be_had_is_refused():
    for asked in ({"run_as_user": 7}, {"run_as_group": 7}):
        with pytest.raises(NotRunnable, match="only root can"):
            confined(ADA, **asked)
    assert confined(ADA, run_as_user=1000, run_as_group=1000).user == 1000
    with pytest.raises(NotRunnable, match="would run as root"):
        confined(ROOT, run_as_non_root=True)
    assert confined(ADA, run_as_non_root=True).user is None


def test_supplementary_groups_are_given_or_refused():
    assert confined(ROOT, pod={"supplementalGroups": [5, 6], "fsGroup": 6}).groups == (5, 6)
    assert confined(ADA, pod={"fsGroup": 50}).groups == (50,)
    with pytest.raises(NotRunnable, match="group 6: only root"):
        confined(ADA, pod={"supplementalGroups": [6]})
