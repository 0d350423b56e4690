"""Changes sent as patches: merge patch, JSON patch, and the strategic merge that kubectl uses for core kinds. Pure.

Path: PATCH body + present object → [patches] → wanted object.

Strategic merge here: maps merge, null deletes, `$patch: replace|delete`, lists whose items have a merge key merge by
it, `$deleteFromPrimitiveList`, `$setElementOrder` (ignored: order is kept) and `$retainKeys`. It is answered for every
kind, because `kubectl patch` sends it unless told otherwise.

Source: RFC 7386; RFC 6902; Kubernetes "Strategic merge patch".
"""

from typing import Any

import jsonpatch
import jsonpointer
import msgspec

from controlplane.api.status import ApiError, bad_request

Body = dict[str, Any]

OPERATIONS_MAX = 10_000  # of one JSON patch, as in kube-apiserver
COPIED_BYTES_MAX = 3 * 1024 * 1024
WHERE_MAX = 200  # characters of an operation that are said back

_MERGE_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "env": "name",
    "volumes": "name",
    "volumeMounts": "mountPath",
    "ports": "containerPort",
    "imagePullSecrets": "name",
    "secrets": "name",
    "conditions": "type",
    "ownerReferences": "uid",
    "hostAliases": "ip",
}
_PRIMITIVE_SETS = frozenset({"finalizers"})


def merge(present: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(present) if isinstance(present, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge(merged.get(key), value)
    return merged


def json(present: Body, operations: Any) -> Body:
    """RFC 6902, in place. Raises ApiError: 400 for what is no patch, 422 for an operation that does not apply."""
    if not isinstance(operations, list) or not all(isinstance(one, dict) for one in operations):
        raise bad_request("a JSON patch is a list of operations")
    if len(operations) > OPERATIONS_MAX:
        raise ApiError(413, "RequestEntityTooLarge", f"a JSON patch has at most {OPERATIONS_MAX} operations")
    result: Any = present
    copied_bytes = 0
    operation: Any = {}
    try:
        for operation in operations:
            if operation.get("op") == "copy":  # a few dozen copies of the whole into itself would fill the memory
                source = jsonpointer.resolve_pointer(result, operation.get("from"))
                copied_bytes += len(msgspec.json.encode(source))
                if copied_bytes > COPIED_BYTES_MAX:
                    raise ApiError(413, "RequestEntityTooLarge", "the JSON patch copies too much")
            result = jsonpatch.JsonPatch([operation]).apply(result, in_place=True)
    except jsonpatch.InvalidJsonPatch as error:
        raise bad_request(f"this is not a JSON patch: {error}") from error
    except (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException, TypeError, KeyError, IndexError) as error:
        # The last three: the library walks into scalars. Its words hold what is there, and a Secret may be there.
        tested = isinstance(error, jsonpatch.JsonPatchTestFailed)
        why = f"{_where(operation)}: {'another value is there' if tested else 'the object has no such place'}"
        message = f"the server rejected our request due to an error in our request: {why}"
        raise ApiError(422, "Invalid", message, {}) from error
    if not isinstance(result, dict):
        raise bad_request("the patch leaves no object")
    return result


def _where(operation: Body) -> str:
    """`replace /spec/x`, as far as it is one."""
    words = [operation[key] for key in ("op", "from", "path") if isinstance(operation.get(key), str)]
    return " ".join(words)[:WHERE_MAX]


def strategic(present: Any, patch: Any) -> Any:
    """Kubernetes' merge of an object or a part of it."""
    if not isinstance(patch, dict):
        return patch
    directive = patch.get("$patch")
    if directive == "replace":
        return {key: value for key, value in patch.items() if key != "$patch"}
    if directive == "delete":
        return {}
    merged = dict(present) if isinstance(present, dict) else {}
    if isinstance(retained := patch.get("$retainKeys"), list):
        merged = {key: value for key, value in merged.items() if key in retained}
    for key, value in patch.items():
        if key.startswith("$deleteFromPrimitiveList/"):
            field = key.partition("/")[2]
            gone = value if isinstance(value, list) else []
            merged[field] = [one for one in merged.get(field) or [] if one not in gone]
        elif key.startswith("$"):
            continue
        elif value is None:
            merged.pop(key, None)
        elif isinstance(value, list):
            merged[key] = _list(key, merged.get(key), value)
        else:
            merged[key] = strategic(merged.get(key), value)
    return merged


def _list(field: str, present: Any, patch: list[Any]) -> list[Any]:
    present = present if isinstance(present, list) else []
    if field in _PRIMITIVE_SETS:
        return [*present, *(one for one in patch if one not in present)]
    by = _MERGE_KEYS.get(field)
    if any(isinstance(one, dict) and one.get("$patch") == "replace" and len(one) == 1 for one in patch):
        return [
            one for one in patch if not (isinstance(one, dict) and one.get("$patch") == "replace" and len(one) == 1)
        ]
    if not by or not all(isinstance(one, dict) and by in one for one in patch):
        return patch
    merged = list(present)
    for one in patch:
        at = next((n for n, old in enumerate(merged) if isinstance(old, dict) and old.get(by) == one[by]), None)
        if one.get("$patch") == "delete":
            merged = [old for n, old in enumerate(merged) if n != at]
        elif at is None:
            merged.append(strategic(None, one))
        else:
            merged[at] = strategic(merged[at], one)
    return merged
