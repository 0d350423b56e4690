"""The door that every write passes: defaulted, checked, and marked with who did it. Pure.

Path: api/, manifest.check → [admit] → defaults.py, validate_*.py.

Who may pass: users, and the reconcilers (`internal`), who alone create Revisions and whose children carry their
parent's user annotations instead of getting their own.

A user who leaves out the creator or lastModifier annotation keeps the stored one (upstream refuses that as a change of
an immutable value, which makes `kubectl replace -f` fail on every manifest).

Source: spec/serving.md §1.9, §2.1–2.4, §5; spec/eventing.md §12.
"""

from collections.abc import Iterable

import msgspec

from controlplane import annotations as keys
from controlplane.admission import defaults, defaults_eventing, validate_core, validate_eventing, validate_serving
from controlplane.admission.fielderror import FieldError, merged, other, under
from controlplane.admission.validate_metadata import creator_and_modifier
from controlplane.knative_settings import KnativeConfig
from dataplane.resources.core import ConfigMap, Namespace, Pod, Secret
from dataplane.resources.eventing import Broker, Trigger
from dataplane.resources.meta import ObjectMeta, Resource
from dataplane.resources.serving import Configuration, Revision, Route, Service

replace = msgspec.structs.replace


class Admitted(msgspec.Struct, frozen=True, kw_only=True):
    """`object` is what to store when there are no errors. Both lists are merged and sorted (§5.1)."""

    object: Resource
    errors: tuple[FieldError, ...] = ()
    warnings: tuple[str, ...] = ()


def admit(new: Resource, old: Resource | None, *, config: KnativeConfig, user: str, internal: bool = False) -> Admitted:
    """Judge one create (old None) or update. Status writes do not pass here.

    Args:
        user: who gets into the creator and lastModifier annotations.
        internal: a reconciler writes, not a user.
    """
    try:
        full = _defaulted(new, old, config)
        marked, wrong = _marked(full, old, user, internal)
        found = merged([*wrong, *_errors(marked, old, config, internal)])
    except RecursionError:  # a value nested so deep that it cannot be compared: nobody means it
        found, marked = (other("nested too deep", "spec"),), new
    return Admitted(
        object=marked,
        errors=tuple(error for error in found if error.level == "error"),
        warnings=tuple(str(error) for error in found if error.level == "warning"),
    )


def _defaulted(new: Resource, old: Resource | None, config: KnativeConfig) -> Resource:
    if isinstance(new, Service):
        before = old.spec.template if isinstance(old, Service) else None
        template = defaults.template(new.spec.template, before, new.metadata, config)
        traffic = defaults.traffic(new.spec.traffic, of_service=True)
        return replace(new, spec=replace(new.spec, template=template, traffic=traffic))
    if isinstance(new, Configuration):
        before = old.spec.template if isinstance(old, Configuration) else None
        template = defaults.template(new.spec.template, before, new.metadata, config)
        return replace(new, spec=replace(new.spec, template=template))
    if isinstance(new, Route):
        return replace(new, spec=replace(new.spec, traffic=defaults.traffic(new.spec.traffic, of_service=False)))
    if isinstance(new, Revision) and old is None:
        links = config.defaults.enable_service_links
        return replace(new, spec=defaults.revision_spec(new.spec, new.metadata, config, service_links=links))
    if isinstance(new, Broker):
        return defaults_eventing.broker(new, old if isinstance(old, Broker) else None, config.brokers)
    if isinstance(new, Trigger):
        return defaults_eventing.trigger(new)
    return defaults.secret(new) if isinstance(new, Secret) else new


def _marked(new: Resource, old: Resource | None, user: str, internal: bool) -> tuple[Resource, tuple[FieldError, ...]]:
    """The object with its user annotations, and what the user did wrong with them."""
    if not isinstance(new, Service | Configuration | Route) or internal:
        return new, ()
    annotations = dict(new.metadata.annotations)
    wrong: tuple[FieldError, ...] = ()
    if old is None:
        annotations |= {keys.CREATOR: user, keys.LAST_MODIFIER: user}
    else:
        assert isinstance(old, Service | Configuration | Route)
        before, changed = old.metadata.annotations, new.spec != old.spec
        owned = not isinstance(new, Service) and bool(new.metadata.owner_references)
        if not owned:
            found = creator_and_modifier(before, annotations, spec_changed=changed)
            wrong = tuple(under("metadata.annotations", found))
        for key in (keys.CREATOR, keys.LAST_MODIFIER):
            if key in before:
                annotations.setdefault(key, before[key])
        if changed:
            annotations[keys.LAST_MODIFIER] = user
    metadata: ObjectMeta = replace(new.metadata, annotations=annotations)
    return replace(new, metadata=metadata), wrong


def _errors(new: Resource, old: Resource | None, config: KnativeConfig, internal: bool) -> Iterable[FieldError]:
    match new:
        case Service():
            return validate_serving.service(new, old if isinstance(old, Service) else None, config)
        case Configuration():
            return validate_serving.configuration(new, old if isinstance(old, Configuration) else None, config)
        case Route():
            return validate_serving.route(new)
        case Revision():
            if old is None and not internal:
                return [other("a Revision is created by changing the template of its Service or Configuration", "kind")]
            return validate_serving.revision(new, old if isinstance(old, Revision) else None, config)
        case Broker():
            return validate_eventing.broker(new, old if isinstance(old, Broker) else None, config.brokers)
        case Trigger():
            return validate_eventing.trigger(new, old if isinstance(old, Trigger) else None)
        case ConfigMap():
            return validate_core.config_map(new, old if isinstance(old, ConfigMap) else None)
        case Secret():
            return validate_core.secret(new, old if isinstance(old, Secret) else None)
        case Namespace():
            return validate_core.namespace(new)
        case Pod():
            return validate_core.pod(new, old if isinstance(old, Pod) else None, internal=internal)
        case _:
            return validate_core.anything(new)
