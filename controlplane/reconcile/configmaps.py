"""The configuration in force: Knative's ConfigMaps as last read without a fault.

Path: store → [configmaps] → view.py, publish.py, api.

Source: spec/serving.md §13 ("bad config map = rejected at write; running components keep the previous value").
"""

import logging

from controlplane import broker_defaults
from controlplane.knative_config import NAMES, NAMESPACE, KnativeConfig, parse
from controlplane.store.contract import Change, Key, Store
from dataplane.errors import ConfigFault
from dataplane.resources.core import ConfigMap

log = logging.getLogger(__name__)

_PLACES = (*((NAMESPACE, name) for name in NAMES), (broker_defaults.NAMESPACE, broker_defaults.NAME))


class LiveConfig:
    """Call it for the present value. Follows the store from construction on."""

    __slots__ = ("_domain", "_store", "_value")

    def __init__(self, *, store: Store, domain: str = "localhost") -> None:
        self._store = store
        self._domain = domain
        self._value = KnativeConfig.with_domain(domain)
        self.read()

    def __call__(self) -> KnativeConfig:
        return self._value

    def concerns(self, change: Change) -> bool:
        return change.key.kind == "ConfigMap" and (change.key.namespace, change.key.name) in _PLACES

    def read(self) -> bool:
        """Read the ConfigMaps again; True when the value is another one. A fault is logged and changes nothing."""
        found: dict[str, dict[str, str]] = {}
        for namespace, name in _PLACES:
            one = self._store.get(Key("", "ConfigMap", namespace, name))
            if isinstance(one, ConfigMap):
                found[name] = one.data
        try:
            value = parse(found, domain=self._domain)
        except ConfigFault as fault:
            log.error("config_rejected reason=%s", fault)
            return False
        changed, self._value = value != self._value, value
        return changed
