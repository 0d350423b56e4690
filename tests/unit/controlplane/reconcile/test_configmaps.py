"""The configuration in force (spec/serving.md §13)."""

from controlplane.reconcile.configmaps import LiveConfig
from controlplane.store.contract import Change, Key
from dataplane.resources.core import ConfigMap
from dataplane.resources.meta import ObjectMeta


def config_map(world, name, **data):
    return world.put(ConfigMap(metadata=ObjectMeta(name=name, namespace="knative-serving"), data=data))


def test_without_configmaps_it_is_knative_with_our_domain(world):
    live = LiveConfig(store=world.store, domain="apps.test")
    assert live().domain.lookup({}) == "apps.test"


def test_what_is_stored_counts(world):
    config_map(world, "config-autoscaler", **{"stable-window": "30s"})
    live = LiveConfig(store=world.store)
    assert live().autoscaler.stable_window_s == 30
    config_map(world, "config-autoscaler", **{"stable-window": "40s"})
    assert live.read()
    assert live().autoscaler.stable_window_s == 40
    assert not live.read()


def test_a_bad_configmap_keeps_the_previous_value(world, caplog):
    config_map(world, "config-autoscaler", **{"stable-window": "30s"})
    live = LiveConfig(store=world.store)
    config_map(world, "config-autoscaler", **{"stable-window": "soon"})
    assert not live.read()
    assert live().autoscaler.stable_window_s == 30
    assert "config_rejected" in caplog.text


def test_only_knatives_configmaps_concern_it(world):
    live = LiveConfig(store=world.store)
    one = ConfigMap()
    for namespace, name, expected in (
        ("knative-serving", "config-network", True),
        ("knative-serving", "mine", False),
        ("default", "config-network", False),
    ):
        change = Change("ADDED", Key("", "ConfigMap", namespace, name), one, 1)
        assert live.concerns(change) is expected
