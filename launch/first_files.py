"""What `dataplane up` puts into the store before it is ready: two namespaces, and the files of -f.

Path: all_in_one → [first_files] → controlplane/api/bulk.py → store.

Every mistake of every file is told at once, with its place, and nothing of any file is written (CP-02).
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from controlplane.api.bulk import Bulk
from controlplane.api.status import ApiError
from controlplane.knative_config import KnativeConfig
from controlplane.manifest import Manifest, check, key_of
from controlplane.store.contract import Change, Key, Store
from dataplane.errors import ConfigFault
from dataplane.resources.eventing import Broker, Trigger
from dataplane.resources.kinds import to_builtins
from dataplane.resources.meta import condition
from dataplane.resources.serving import Service

log = logging.getLogger(__name__)

NAMESPACES = ("default", "knative-serving", "knative-eventing")
MANAGER = "dataplane-up"
SETTLE_S = 30.0  # then `up` says ready although a Service is not: its pods may take minutes to start


async def create_namespaces(store: Store, bulk: Bulk) -> None:
    missing = [name for name in NAMESPACES if store.get(Key("", "Namespace", "", name)) is None]
    if missing:
        await bulk.apply(
            [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in missing], manager=MANAGER
        )


async def apply_files(
    manifests: list[Manifest], *, store: Store, bulk: Bulk, config: Callable[[], KnativeConfig]
) -> list[Key]:
    """Returns the keys of what was applied. Raises ConfigFault with every mistake."""
    mistakes = [str(one) for manifest in manifests for one in check(manifest, config(), store.get)]
    if mistakes:
        raise ConfigFault("\n".join(mistakes))
    objects = [parsed for manifest in manifests for parsed in manifest.objects]
    bodies: list[dict[str, Any]] = []
    for parsed in objects:
        body = to_builtins(parsed.object)
        body.pop("status", None)
        bodies.append(body)
    if not bodies:
        return []
    try:
        results = await bulk.apply(bodies, manager=MANAGER)
    except ApiError as error:  # what only the store can know, e.g. a namespace that is not there
        causes = (error.details or {}).get("causes") or [{"message": error.message, "field": "[0]"}]
        raise ConfigFault("\n".join(_placed(cause, objects) for cause in causes)) from None
    for result in results:
        for warning in result["warnings"]:
            log.info("apply_warning message=%s", warning)
        log.info("applied kind=%s name=%s action=%s", *_named(result))
    return [key_of(parsed.object) for parsed in objects]


async def settled(store: Store, keys: list[Key]) -> list[Key]:
    """Wait until each Service, Broker and Trigger of `keys` is Ready or has failed; returns the others after 30 s."""
    changed = asyncio.Event()

    def watch(change: Change) -> None:
        changed.set()

    stop = store.watch(watch)
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout_at(loop.time() + SETTLE_S):
            while _unsettled(store, keys):
                await changed.wait()
                changed.clear()
    except TimeoutError:
        pass
    finally:
        stop()
    return _unsettled(store, keys)


def _unsettled(store: Store, keys: list[Key]) -> list[Key]:
    out = []
    for key in keys:
        one = store.get(key)
        if not isinstance(one, Service | Broker | Trigger):
            continue
        ready = condition(one.status.conditions, "Ready")
        current = one.status.observed_generation >= one.metadata.generation
        if ready is None or not current or ready.status == "Unknown":
            out.append(key)
    return out


def _placed(cause: dict[str, Any], objects: list[Any]) -> str:
    number = str(cause.get("field", "")).strip("[]")
    where = f"{objects[int(number)].where}: " if number.isdigit() and int(number) < len(objects) else ""
    return f"{where}{cause.get('message', '')}"


def _named(result: dict[str, Any]) -> tuple[str, str, str]:
    meta = result["object"]["metadata"]
    return result["object"]["kind"], f"{meta.get('namespace', '')}/{meta['name']}", result["action"]
