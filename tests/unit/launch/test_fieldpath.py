from typing import Any

import pytest

from launch.fieldpath import described

DOCUMENT: dict[str, Any] = {
    "components": {
        "schemas": {
            "Service": {
                "type": "object",
                "description": "A Service.",
                "x-kubernetes-group-version-kind": [{"group": "g", "version": "v1", "kind": "Service"}],
                "properties": {
                    "spec": {"allOf": [{"$ref": "#/components/schemas/Spec"}], "description": "What is wanted."}
                },
            },
            "Spec": {
                "type": "object",
                "required": ["containers"],
                "properties": {
                    "containers": {"type": "array", "items": {"$ref": "#/components/schemas/Container"}},
                    "concurrency": {"anyOf": [{"type": "integer"}, {"type": "null"}], "description": "At once."},
                    "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                    "loop": {"$ref": "#/components/schemas/Loop"},
                },
            },
            "Container": {"type": "object", "properties": {"image": {"type": "string", "description": "Image."}}},
            "Loop": {"$ref": "#/components/schemas/Loop"},
        }
    }
}


def _explained(*path: str) -> str:
    return "\n".join(described(DOCUMENT, "g", "v1", "Service", list(path)))


def test_a_kind_lists_its_fields_as_kubectl_does() -> None:
    text = _explained()
    assert text.startswith("GROUP:      g\nKIND:       Service\nVERSION:    v1\n\nDESCRIPTION:\n    A Service.\n")
    assert "FIELDS:\n  spec\t<Object>\n    What is wanted." in text


def test_types_of_fields_follow_references_lists_maps_and_null() -> None:
    text = _explained("spec")
    assert "  concurrency\t<integer>\n" in text
    assert "  containers\t<[]Object> -required-\n" in text
    assert "  labels\t<map[string]string>\n" in text


def test_a_path_goes_through_lists() -> None:
    assert "FIELD: image <string>\n\nDESCRIPTION:\n    Image." in _explained("spec", "containers", "image")


def test_a_missing_field_is_told_the_near_one() -> None:
    with pytest.raises(
        ValueError, match=r'field "contaners" does not exist in service\.spec; did you mean "containers"'
    ):
        _explained("spec", "contaners")


def test_a_schema_that_refers_to_itself_ends() -> None:
    assert "FIELD: loop" in _explained("spec", "loop")
