"""Host names of Routes and tags, from Knative's templates. Pure.

Path: reconcile/route.py → [hostnames] → Route status, snapshot rules.

Source: spec/serving.md §2.5.
"""

import re
from collections.abc import Mapping

from controlplane.annotations import CLUSTER_LOCAL, VISIBILITY_LABEL
from controlplane.config_maps import DOMAIN_FIELDS, DOMAIN_MAPS, TAG_FIELDS
from controlplane.go_text import parse_template, quoted, render
from controlplane.knative_settings import KnativeConfig, Network
from dataplane.errors import ConfigFault

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", re.ASCII)


def host(
    name: str,
    namespace: str,
    domain: str,
    labels: Mapping[str, str],
    annotations: Mapping[str, str],
    config: KnativeConfig,
) -> str:
    """The host of a Route, or of one of its tags when `name` comes from tag_name().

    A cluster-local label takes the stock template, whatever config-network says. `domain` is usually
    `config.domain.lookup(labels)`. Raises ConfigFault when the result is not a domain name.
    """
    local = labels.get(VISIBILITY_LABEL) == CLUSTER_LOCAL
    template = Network().domain_template if local else config.network.domain_template
    values: dict[str, str | Mapping[str, str]] = {
        "Name": name,
        "Namespace": namespace,
        "Domain": domain,
        "Labels": labels,
        "Annotations": annotations,
    }
    result = render(parse_template(template, DOMAIN_FIELDS, DOMAIN_MAPS), values)
    parts = result.removesuffix(".").split(".")
    if len(result) > 253 or len(parts) < 2 or not all(_LABEL.fullmatch(part) for part in parts):
        raise ConfigFault(f"domain name error: invalid domain name {quoted(result)}")
    return result


def tag_name(tag: str, name: str, config: KnativeConfig) -> str:
    """`name` for the Route itself (tag ""), else the tag template: `blue-hello`."""
    if not tag:
        return name
    return render(parse_template(config.network.tag_template, TAG_FIELDS), {"Name": name, "Tag": tag})
