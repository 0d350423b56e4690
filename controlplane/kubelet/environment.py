"""The environment of a container: contract variables, envFrom, env, and $(VAR) expansion. Pure.

Path: Pod.spec → [environment] → compose.py.

Source: spec/serving.md §12.1, §12.7; Kubernetes' third_party/forked/golang/expansion.
"""

import re
from collections.abc import Mapping
from typing import Protocol

from controlplane.kubelet.references import References
from controlplane.kubelet.refusal import CONFIG_ERROR, NotRunnable
from dataplane.resources.core import Container, EnvVar, LocalObjectReference, Pod

LABELS = {
    "K_SERVICE": "serving.knative.dev/service",
    "K_CONFIGURATION": "serving.knative.dev/configuration",
    "K_REVISION": "serving.knative.dev/revision",
}


class Find(Protocol):
    def __call__(self, name: str, *, optional: bool) -> dict[str, bytes] | None: ...


_REFERENCE = re.compile(r"\$(\$|\(([^)]*)\))")


def contract(pod: Pod) -> dict[str, str]:
    """K_*: in every container of a revision; K_SERVICE is empty without a Service. Nothing for other pods."""
    labels = pod.metadata.labels
    if LABELS["K_REVISION"] not in labels:
        return {}
    return {name: labels.get(label, "") for name, label in LABELS.items()}


def expand(text: str, env: Mapping[str, str]) -> str:
    """`$(NAME)` → its value, `$$` → `$`; an unknown name stays as written."""
    if "$" not in text:
        return text

    def one(found: re.Match[str]) -> str:
        if found[1] == "$":
            return "$"
        return env.get(found[2], found[0])

    return _REFERENCE.sub(one, text)


def environment(
    container: Container, refs: References, *, base: Mapping[str, str], fixed: Mapping[str, str]
) -> dict[str, str]:
    """base < envFrom < env < fixed; `env` may refer to everything before it and to `fixed`.

    Raises NotRunnable when something that is not optional is missing.
    """
    env = {**base, **fixed}
    for source in container.env_from:
        for key, value in _from(source.config_map_ref, refs.config_map).items():
            env[source.prefix + key] = value
        for key, value in _from(source.secret_ref, refs.secret).items():
            env[source.prefix + key] = value
    for var in container.env:
        resolved = _value(var, container, refs, {**env, **fixed})
        if resolved is not None:
            env[var.name] = resolved
    return {**env, **fixed}


def _from(ref: LocalObjectReference | None, find: Find) -> dict[str, str]:
    if ref is None:
        return {}
    data = find(ref.name, optional=ref.optional) or {}
    # a key that cannot be a variable's name is left out, as Kubernetes does
    return {key: _text(value) for key, value in data.items() if key and "=" not in key and b"\0" not in value}


def _value(var: EnvVar, container: Container, refs: References, env: Mapping[str, str]) -> str | None:
    source = var.value_from
    if source is None:
        return expand(var.value, env)
    if source.field_ref is not None:
        return refs.field(source.field_ref)
    if source.resource_field_ref is not None:
        return refs.resource(source.resource_field_ref, container)
    for kind, ref, find in (
        ("ConfigMap", source.config_map_key_ref, refs.config_map),
        ("Secret", source.secret_key_ref, refs.secret),
    ):
        if ref is None:
            continue
        data = find(ref.name, optional=ref.optional)
        if data is not None and ref.key in data:
            return _text(data[ref.key])
        if not ref.optional:
            raise NotRunnable(CONFIG_ERROR, f"couldn't find key {ref.key} in {kind} {refs.namespace}/{ref.name}")
    return None


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")
