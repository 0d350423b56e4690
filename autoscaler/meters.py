"""What /metrics says about a revision's scale, under Knative's names.

Path: decide → [meters] → telemetry.metrics → /metrics.

Source: design/ecosystem.md §3.1.
"""

from autoscaler.revision import Scaling
from dataplane.resources.scaling import Decision
from dataplane.resources.snapshot import Revision as Compiled
from dataplane.telemetry.metrics import Cell, Registry

_LABELS = ("k8s_namespace_name", "kn_service_name", "kn_configuration_name", "kn_revision_name")
_PODS = {
    "desired": "Pods that the load asks for, before bounds.",
    "requested": "Pods that were asked of the control plane.",
    "count": "Ready pods.",
    "not_ready_count": "Pods that are not ready.",
    "pending_count": "Pods that were asked for and are not there yet.",
    "terminating_count": "Pods that are being taken away.",
}
_LOAD = {"stable": "Average over the stable window.", "panic": "Average over the panic window.", "target": "Per pod."}


class Meters:
    """Families of the autoscaler, and the cells of each revision."""

    def __init__(self, registry: Registry) -> None:
        self._pods = {name: registry.gauge(f"kn_revision_pods_{name}", help_, _LABELS) for name, help_ in _PODS.items()}
        self._load = {
            "concurrency": {
                name: registry.gauge(f"kn_revision_concurrency_{name}", f"Requests at once. {help_}", _LABELS)
                for name, help_ in _LOAD.items()
            },
            "rps": {
                name: registry.gauge(f"kn_revision_rps_{name}_per_second", f"Requests per second. {help_}", _LABELS)
                for name, help_ in _LOAD.items()
            },
        }
        self._excess = registry.gauge(
            "kn_revision_capacity_excess", "Requests that the ready pods could take beyond load and burst.", _LABELS
        )
        self._panicking = registry.gauge("kn_revision_panic_mode", "1 while nothing is taken away.", _LABELS)
        self.rejected = registry.counter(
            "dataplane_autoscaler_stats_rejected_total", "Stats that were ignored, and why.", ("reporter", "reason")
        )
        self.blind = registry.gauge(
            "dataplane_autoscaler_revisions_without_data", "Revisions that keep their scale because nobody reports."
        ).cell()
        self.failures = registry.counter(
            "dataplane_autoscaler_actuation_failures_total", "Decisions that could not be handed over at the first try."
        ).cell()
        self._labels: dict[str, tuple[str, str, str, str]] = {}

    def add(self, key: str, compiled: Compiled) -> None:
        """Name a revision."""
        labels = (compiled.namespace, compiled.service, compiled.configuration, compiled.name)
        before = self._labels.get(key)
        if before is not None and before != labels:
            self.drop(key)
        self._labels[key] = labels

    def drop(self, key: str) -> None:
        """A revision is gone, and its series with it."""
        labels = self._labels.pop(key, None)
        if labels is None:
            return
        wanted = dict(zip(_LABELS, labels, strict=True))
        families = [*self._pods.values(), *self._load["concurrency"].values(), *self._load["rps"].values()]
        for family in (*families, self._excess, self._panicking):
            family.drop(wanted)

    def show(self, scaling: Scaling, decision: Decision) -> None:
        """Every decision."""
        labels = self._labels[scaling.key]

        def pods(name: str) -> Cell:
            return self._pods[name].cell(*labels)

        terminating = sum(1 for endpoint in scaling.endpoints if endpoint.draining)
        not_ready = len(scaling.endpoints) - terminating - scaling.ready
        pods("desired").v = max(0, decision.desired)
        pods("requested").v = max(0, scaling.want)
        pods("count").v = scaling.ready
        pods("not_ready_count").v = not_ready
        pods("pending_count").v = max(0, scaling.want - scaling.ready - not_ready)
        pods("terminating_count").v = terminating
        load = self._load[scaling.spec.metric]
        load["stable"].cell(*labels).v = decision.stable_average
        load["panic"].cell(*labels).v = decision.panic_average
        load["target"].cell(*labels).v = scaling.spec.target
        self._excess.cell(*labels).v = decision.excess_burst_capacity
        self._panicking.cell(*labels).v = int(decision.panicking)
