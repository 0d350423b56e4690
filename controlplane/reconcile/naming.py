"""Names of children, labels and annotations: what one object is called when another one makes it.

Path: reconcile/*.py → [naming].

Source: spec/serving.md §1.7, §1.8, §12.12, §13.1.
"""

import hashlib
import random
from collections.abc import Callable
from typing import Final

NAME_MAX: Final = 63
_MD5_HEX: Final = 32
_HEAD: Final = NAME_MAX - _MD5_HEX  # 31
_SUFFIX_ALPHABET: Final = "bcdfghjklmnpqrstvwxz2456789"

SERVICE = "serving.knative.dev/service"
SERVICE_UID = "serving.knative.dev/serviceUID"
CONFIGURATION = "serving.knative.dev/configuration"
CONFIGURATION_UID = "serving.knative.dev/configurationUID"
CONFIGURATION_GENERATION = "serving.knative.dev/configurationGeneration"
REVISION = "serving.knative.dev/revision"
REVISION_UID = "serving.knative.dev/revisionUID"
ROUTING_STATE = "serving.knative.dev/routingState"
VISIBILITY = "networking.knative.dev/visibility"

ROUTES = "serving.knative.dev/routes"
ROUTING_STATE_MODIFIED = "serving.knative.dev/routingStateModified"
CREATOR = "serving.knative.dev/creator"
LAST_MODIFIER = "serving.knative.dev/lastModifier"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"
ROLLOUT_DURATION = ("serving.knative.dev/rollout-duration", "serving.knative.dev/rolloutDuration")
AUTOSCALING_PREFIX = "autoscaling.knative.dev/"


def child_name(parent: str, suffix: str) -> str:
    """`parent` + `suffix`, or something as unique that fits into a DNS label.

    Deterministic: the same parent and suffix always give the same name of at most 63 characters.
    """
    if len(parent) + len(suffix) <= NAME_MAX:
        return parent + suffix
    if len(suffix) >= _HEAD:
        digest = _md5(parent + suffix)
        padded = parent[:_HEAD] + digest
        return (padded + suffix)[:NAME_MAX].rstrip("-._")
    return parent[: _HEAD - len(suffix)] + _md5(parent) + suffix


def revision_name(configuration: str, generation: int) -> str:
    """`hello-00002` for generation 2."""
    return child_name(configuration, f"-{generation:05d}")


def deployment_name(revision: str) -> str:
    return child_name(revision, "-deployment")


def pod_name(revision: str, revision_uid: str, suffix: str) -> str:
    """`<rev>-deployment-<hash of the revision>-<suffix>`, as a ReplicaSet would call it."""
    template = hashlib.sha256(revision_uid.encode()).hexdigest()[:10]
    return f"{deployment_name(revision)}-{template}-{suffix}"


def names_in(annotation: str) -> frozenset[str]:
    """The names in a comma list such as the routes annotation."""
    return frozenset(name for name in annotation.split(",") if name)


def listed(names: frozenset[str]) -> str:
    """The comma list of names, sorted."""
    return ",".join(sorted(names))


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def suffixes(source: random.Random) -> Callable[[], str]:
    """A generator of the five characters at the end of a pod's name. No vowels: no words."""
    return lambda: "".join(source.choices(_SUFFIX_ALPHABET, k=5))
