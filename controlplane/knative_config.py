"""The door to Knative's configuration: everything that other modules ask about it, under one name.

Path: reconcile/, publish.py, api/, admission/ → [knative_config] → config_maps.py, hostnames.py, autoscaling.py.

`KnativeConfig()` is Knative without any ConfigMap (deviations: knative_settings.py). `parse` reads the ConfigMaps of
namespace `NAMESPACE` and raises ConfigFault; whoever runs then keeps what it has.

Source: spec/serving.md §13.
"""

from controlplane.annotations import annotation
from controlplane.autoscaling import resolve_autoscaling
from controlplane.config_maps import NAMES, parse
from controlplane.go_text import format_go_duration, parse_go_duration, parse_quantity
from controlplane.hostnames import host, tag_name
from controlplane.knative_settings import (
    CLUSTER_DOMAIN,
    GC,
    NAMESPACE,
    Autoscaler,
    Defaults,
    Deployment,
    Domain,
    Features,
    KnativeConfig,
    Network,
    Observability,
)

__all__ = [
    "KnativeConfig", "Autoscaler", "Defaults", "Deployment", "Network", "Features", "GC", "Domain", "Observability",
    "NAMESPACE", "NAMES", "CLUSTER_DOMAIN",
    "parse", "host", "tag_name", "annotation", "resolve_autoscaling",
    "parse_go_duration", "format_go_duration", "parse_quantity",
]  # fmt: skip
