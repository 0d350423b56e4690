"""Resources → the values of a snapshot: hosts, rules, splits, what a hop must know of a revision. Pure.

Path: reconcile/route.py (what would be programmed), publish.py (what is) → [compile] → dataplane/resources/snapshot.py.

A Route is compiled from `status.traffic`, not from its spec: what cannot be resolved now leaves the old programming in
place, over restarts too.

Source: spec/serving.md §2.4 (flattening), §2.5, §6.1, §6.6, §6.7, §6.12, §16.6.
"""

import hashlib

import msgspec

from controlplane.annotations import CLUSTER_LOCAL, VISIBILITY_LABEL
from controlplane.knative_config import CLUSTER_DOMAIN, KnativeConfig, host, tag_name
from controlplane.reconcile.autoscaler import is_initialized, parameters, protocol
from controlplane.reconcile.naming import CONFIGURATION, SERVICE
from controlplane.reconcile.traffic import groups
from dataplane.resources import serving
from dataplane.resources.meta import condition
from dataplane.resources.snapshot import Endpoint, Path, Revision, Route, Rule, Split

LOCAL_DOMAIN = f"svc.{CLUSTER_DOMAIN}"
TAG_HEADER = "Knative-Serving-Tag"
DEFAULT_ROUTE_HEADER = "Knative-Serving-Default-Route"
TAG_FEATURE = "tag-header-based-routing"


def route(one: serving.Route, traffic: tuple[serving.TrafficTarget, ...], config: KnativeConfig) -> Route:
    """What `traffic` (revisions only) programs. Raises ConfigFault: a host that is no domain name."""
    meta = one.metadata
    by_tag = groups(traffic)
    by_header = config.features.enabled(TAG_FEATURE)
    rules: list[Rule] = []
    for tag, shares in by_tag.items():
        paths = [_path(meta.namespace, shares)]
        if by_header and tag:
            paths = [msgspec.structs.replace(paths[0], append_headers={TAG_HEADER: tag})]
        elif by_header:
            tagged = [
                msgspec.structs.replace(_path(meta.namespace, other), headers={TAG_HEADER: name})
                for name, other in by_tag.items()
                if name
            ]
            paths = [*tagged, msgspec.structs.replace(paths[0], append_headers={DEFAULT_ROUTE_HEADER: "true"})]
        name = tag_name(tag, meta.name, config)
        local = local_hosts(name, meta.namespace)
        rules.append(Rule(hosts=local, visibility="ClusterLocal", paths=tuple(paths)))
        public = public_host(one, tag, config)
        if public and public not in local:
            rules.append(Rule(hosts=(public,), visibility="ExternalIP", paths=tuple(paths)))
    spec = msgspec.json.encode(rules)
    digest = hashlib.sha256(spec + meta.namespace.encode() + meta.name.encode()).hexdigest()
    return Route(namespace=meta.namespace, name=meta.name, rules=tuple(rules), hash=digest)


def revision(
    one: serving.Revision,
    autoscaler: serving.PodAutoscaler | None,
    endpoints: tuple[Endpoint, ...],
    config: KnativeConfig,
) -> Revision:
    """`failed` is set when it never came up: nobody should wait for it. One that did come up is waited for."""
    meta, spec = one.metadata, one.spec
    return Revision(
        namespace=meta.namespace,
        name=meta.name,
        service=meta.labels.get(SERVICE, ""),
        configuration=meta.labels.get(CONFIGURATION, ""),
        protocol="h2c" if protocol(spec) == "h2c" else "http1",
        container_concurrency=spec.container_concurrency or 0,
        timeout_s=float(spec.timeout_seconds or config.defaults.timeout_seconds),
        response_start_timeout_s=float(spec.response_start_timeout_seconds or 0),
        idle_timeout_s=float(spec.idle_timeout_seconds or 0),
        endpoints=endpoints,
        failed=_failed(one, autoscaler),
        autoscaling=parameters(one, autoscaler, config),
    )


def is_local(one: serving.Route, config: KnativeConfig) -> bool:
    """Nothing of it is reachable from outside."""
    labels = one.metadata.labels
    return labels.get(VISIBILITY_LABEL) == CLUSTER_LOCAL or config.domain.lookup(labels) in ("", LOCAL_DOMAIN)


def public_host(one: serving.Route, tag: str, config: KnativeConfig) -> str:
    """The host from outside, of the Route or of one of its tags; "" when it is private. Raises ConfigFault."""
    if is_local(one, config):
        return ""
    meta = one.metadata
    domain = config.domain.lookup(meta.labels)
    name = tag_name(tag, meta.name, config)
    return host(name, meta.namespace, domain, meta.labels, meta.annotations, config).lower()


def url(one: serving.Route, tag: str, config: KnativeConfig, port: int) -> str:
    """What a client types: `http://hello.default.localhost:8080`. Raises ConfigFault."""
    public = public_host(one, tag, config)
    if not public:
        return local_url(tag_name(tag, one.metadata.name, config), one.metadata.namespace)
    shown = "" if port in (0, 80) else f":{port}"
    return f"{config.network.default_external_scheme}://{public}{shown}"


def local_url(name: str, namespace: str) -> str:
    return f"http://{name}.{namespace}.{LOCAL_DOMAIN}"


def local_hosts(name: str, namespace: str) -> tuple[str, ...]:
    """`n.ns`, `n.ns.svc` and the whole name, without what could be taken for an address."""
    hosts = (f"{name}.{namespace}", f"{name}.{namespace}.svc", f"{name}.{namespace}.{LOCAL_DOMAIN}")
    return tuple(one.lower() for one in hosts if _could_be_a_name(one))


def _could_be_a_name(host_: str) -> bool:
    last = host_.rpartition(".")[2]
    return len(last) <= 63 and not last.isdigit()


def _path(namespace: str, shares: dict[str, int]) -> Path:
    return Path(
        splits=tuple(
            Split(
                revision=f"{namespace}/{name}",
                percent=percent,
                append_headers={"Knative-Serving-Namespace": namespace, "Knative-Serving-Revision": name},
            )
            for name, percent in shares.items()
        )
    )


def _failed(one: serving.Revision, autoscaler: serving.PodAutoscaler | None) -> str:
    ready = condition(one.status.conditions, "Ready")
    if ready is None or ready.status != "False":
        return ""
    came_up = autoscaler is not None and is_initialized(autoscaler)
    if came_up and ready.reason != "ContainerMissing":
        return ""
    return ready.message or ready.reason
