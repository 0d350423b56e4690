"""A Service that is fine, and what admission says when one thing about it is not."""

import copy

import pytest

from controlplane.admission.admit import Admitted, admit
from controlplane.knative_config import KnativeConfig, parse
from controlplane.strict import decode
from dataplane.resources.kinds import BY_KIND, to_builtins


class Judge:
    """Admission as a test asks it: dictionaries in, texts out."""

    def build(self, group, kind, name="hello", **fields):
        info = BY_KIND[group, kind]
        metadata = {"name": name, "namespace": "default", **fields.pop("metadata", {})}
        data = {"apiVersion": info.api_version, "kind": kind, "metadata": metadata, **fields}
        one, faults = decode(info.struct, data)
        assert one is not None, faults
        assert not faults
        return one

    def service(self, *, container=None, pod=None, template=None, traffic=None, metadata=None):
        """Each argument is merged into a Service with one container."""
        spec = {"containers": [{"image": "ghcr.io/knative/helloworld-go", **(container or {})}], **(pod or {})}
        fields = {"template": {"metadata": template or {}, "spec": spec}}
        if traffic is not None:
            fields["traffic"] = traffic
        return self.build("serving.knative.dev", "Service", metadata=metadata or {}, spec=fields)

    def admit(self, new, old=None, config=None, **more) -> Admitted:
        if isinstance(config, dict):
            config = parse(config)
        return admit(new, old, config=config or KnativeConfig(), user="alice", **more)

    def errors(self, new, old=None, config=None, **more):
        """`message: paths` (and details) of each error."""
        before = copy.deepcopy(to_builtins(new))
        admitted = self.admit(new, old, config, **more)
        assert to_builtins(new) == before, "admission is pure"
        return [str(error) for error in admitted.errors]

    def container_errors(self, config=None, pod=None, **container):
        """Of a Service whose only container has these fields; `C` stands for its path."""
        said = self.errors(self.service(container=container, pod=pod), config=config)
        return [text.replace("spec.template.spec.containers[0]", "C") for text in said]

    def pod_errors(self, config=None, container=None, **pod):
        """`S` stands for spec.template.spec."""
        said = self.errors(self.service(container=container, pod=pod), config=config)
        return [text.replace("spec.template.spec", "S") for text in said]

    def annotation_errors(self, annotations, config=None):
        """`A` stands for the path of the template's annotations."""
        said = self.errors(self.service(template={"annotations": annotations}), config=config)
        return [text.replace("spec.template.metadata.annotations", "A") for text in said]


@pytest.fixture
def judge():
    return Judge()
