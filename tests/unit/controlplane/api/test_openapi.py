import json

import pytest

from controlplane.api import fielddocs, openapi
from dataplane.resources.kinds import KINDS

VERSIONS = sorted({kind.api_version for kind in KINDS})


def test_the_index_has_every_group() -> None:
    paths = json.loads(openapi.index())["paths"]
    assert set(paths) == {f"apis/{v}" if "/" in v else f"api/{v}" for v in VERSIONS}
    for path, entry in paths.items():
        assert entry["serverRelativeURL"].startswith(f"/openapi/v3/{path}?hash=")


@pytest.mark.parametrize("api_version", VERSIONS)
def test_every_reference_leads_somewhere(api_version: str) -> None:
    document = json.loads(openapi.document(api_version))
    schemas = document["components"]["schemas"]
    references: list[str] = []

    def walk(value: object) -> None:
        if isinstance(value, dict):
            if isinstance(value.get("$ref"), str):
                references.append(value["$ref"])
            for inner in value.values():
                walk(inner)
        elif isinstance(value, list):
            for inner in value:
                walk(inner)

    walk(document)
    assert references
    assert {r.removeprefix("#/components/schemas/") for r in references} <= set(schemas)


def test_kinds_are_marked_and_patches_say_which_parameters_they_know() -> None:
    document = json.loads(openapi.document("serving.knative.dev/v1"))
    gvk = {"group": "serving.knative.dev", "version": "v1", "kind": "Service"}
    assert document["components"]["schemas"]["dev.knative.serving.v1.Service"]["x-kubernetes-group-version-kind"] == [
        gvk
    ]
    patch = document["paths"]["/apis/serving.knative.dev/v1/namespaces/{namespace}/services/{name}"]["patch"]
    assert patch["x-kubernetes-group-version-kind"] == gvk
    assert {p["name"] for p in patch["parameters"]} >= {"fieldValidation", "dryRun"}


def test_types_are_those_of_kubernetes() -> None:
    schemas = json.loads(openapi.document("v1"))["components"]["schemas"]
    container = schemas["io.k8s.api.core.v1.Container"]["properties"]
    assert container["command"] == {**container["command"], "type": "array", "items": {"type": "string"}}
    probe = schemas["io.k8s.api.core.v1.HTTPGetAction"]["properties"]
    assert probe["port"]["x-kubernetes-int-or-string"] is True
    meta = schemas["io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"]["properties"]
    assert meta["labels"]["additionalProperties"] == {"type": "string"}


def test_every_description_is_of_a_field_that_exists() -> None:
    known: set[str] = set()
    for version in VERSIONS:
        for name, schema in json.loads(openapi.document(version))["components"]["schemas"].items():
            struct = name.rpartition(".")[2]
            known.add(struct)
            known |= {f"{struct}.{field}" for field in schema["properties"]}
    known |= {entry.replace("RevisionSpec.", "PodSpec.").replace("Service.", "Resource.") for entry in known}
    assert [entry for entry in fielddocs.DOCS if entry not in known] == []
