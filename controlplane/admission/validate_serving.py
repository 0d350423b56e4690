"""Service, Configuration, Revision and Route: what their parts are checked for, and what may not change. Pure.

Path: admit.py → [validate_serving] → validate_{metadata,annotations,podspec,traffic}.py.

Source: spec/serving.md §1.9, §2, §5.3.
"""

from collections.abc import Iterator

from controlplane.admission import validate_metadata as metadata
from controlplane.admission.fielderror import FieldError, disallowed, invalid, other, under
from controlplane.admission.fields import difference
from controlplane.admission.names import dns1035_label
from controlplane.admission.validate_annotations import autoscaling, template_annotations
from controlplane.admission.validate_podspec import revision_spec
from controlplane.admission.validate_traffic import traffic
from controlplane.annotations import SERVING
from controlplane.knative_settings import KnativeConfig
from dataplane.resources.meta import ObjectMeta
from dataplane.resources.serving import Configuration, Revision, RevisionTemplate, Route, Service


def service(new: Service, old: Service | None, config: KnativeConfig) -> Iterator[FieldError]:
    yield from under("metadata", _owner_metadata(new.metadata))
    yield from under("metadata.annotations", metadata.rollout_duration(new.metadata.annotations))
    yield from under("spec.template", _template(new.spec.template, new.metadata, config))
    yield from under("spec.traffic", traffic(new.spec.traffic, of_service=True))
    if old is not None:
        yield from under("spec.template", _name_change(old.spec.template, new.spec.template))


def configuration(new: Configuration, old: Configuration | None, config: KnativeConfig) -> Iterator[FieldError]:
    yield from under("metadata", _owner_metadata(new.metadata))
    yield from under("metadata.labels", metadata.owner_label(new.metadata, SERVING + "service", "Service"))
    yield from under("spec.template", _template(new.spec.template, new.metadata, config))
    if old is not None:
        yield from under("spec.template", _name_change(old.spec.template, new.spec.template))


def route(new: Route) -> Iterator[FieldError]:
    yield from under("metadata", _owner_metadata(new.metadata))
    yield from under("metadata.annotations", metadata.rollout_duration(new.metadata.annotations))
    yield from under("metadata.labels", metadata.owner_label(new.metadata, SERVING + "service", "Service"))
    yield from under("spec.traffic", traffic(new.spec.traffic, of_service=False))


def revision(new: Revision, old: Revision | None, config: KnativeConfig) -> Iterator[FieldError]:
    yield from under("metadata", metadata.names(new.metadata))
    yield from under("metadata.annotations", autoscaling(new.metadata.annotations, config.autoscaler))
    label = SERVING + "configuration"
    yield from under("metadata.labels", metadata.owner_label(new.metadata, label, "Configuration"))
    if old is None:
        yield from under("spec", revision_spec(new.spec, config))
    elif new.spec != old.spec:
        details = difference(old.spec, new.spec)
        yield other("Immutable fields changed (-old +new)", "spec", details=details)


def _owner_metadata(meta: ObjectMeta) -> Iterator[FieldError]:
    yield from metadata.names(meta)
    yield from under("annotations", metadata.no_autoscaling(meta.annotations))


def _template(template: RevisionTemplate, parent: ObjectMeta, config: KnativeConfig) -> Iterator[FieldError]:
    yield from under("spec", revision_spec(template.spec, config))
    annotations = template.metadata.annotations
    yield from under("metadata.annotations", template_annotations(annotations, config.autoscaler))
    yield from under("metadata", _template_name(template.metadata, parent))


def _template_name(meta: ObjectMeta, parent: ObjectMeta) -> Iterator[FieldError]:
    if meta.generate_name and (wrong := dns1035_label(meta.generate_name, prefix=True)):
        yield invalid(f"not a DNS 1035 label prefix: {metadata.complaints(wrong)}", "generateName")
        return
    if not meta.name:
        return
    if wrong := dns1035_label(meta.name):
        yield invalid(f"not a DNS 1035 label: {metadata.complaints(wrong)}", "name")
    elif not parent.name and parent.generate_name:
        # A name of one's own cannot start with a name that is not known yet.
        yield disallowed("name")
    elif not meta.name.startswith(f"{parent.name}-"):
        yield invalid(f'"{meta.name}" must have prefix "{parent.name}-"', "name")


def _name_change(old: RevisionTemplate, new: RevisionTemplate) -> Iterator[FieldError]:
    """Who names revisions must name each of them differently."""
    if new.metadata.name and new.metadata.name == old.metadata.name and new != old:
        message = "Saw the following changes without a name change (-old +new)"
        yield other(message, "metadata.name", details=difference(old, new))
