"""Credentials of a cluster, from the keys of Knative's Kafka secret to what aiokafka takes.

Source: spec/eventing.md §22.4.
"""

import ssl
import tempfile
from collections.abc import Mapping
from typing import Any

from dataplane.errors import StoreFault


def security_of(config: Mapping[str, str]) -> dict[str, Any]:
    """Arguments of aiokafka's clients, from the keys of Knative's secret (spec §22.4). Raises StoreFault."""
    protocol = config.get("protocol", "PLAINTEXT")
    if protocol not in ("PLAINTEXT", "SASL_PLAINTEXT", "SSL", "SASL_SSL"):
        raise StoreFault(f"protocol is {protocol!r}; PLAINTEXT, SASL_PLAINTEXT, SSL or SASL_SSL would be right")
    found: dict[str, Any] = {"security_protocol": protocol}
    if protocol.endswith("SSL"):
        found["ssl_context"] = _tls(config)
    if protocol.startswith("SASL"):
        mechanism = config.get("sasl.mechanism", "PLAIN")
        if mechanism not in ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"):
            raise StoreFault(f"sasl.mechanism is {mechanism!r}; PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512 would be right")
        found |= {
            "sasl_mechanism": mechanism,
            "sasl_plain_username": config.get("user", ""),
            "sasl_plain_password": config.get("password", ""),
        }
    return found


def _tls(config: Mapping[str, str]) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cadata=config.get("ca.crt") or None)
    except ssl.SSLError as error:
        raise StoreFault(f"ca.crt is no certificate in PEM: {error}") from error
    if config.get("user.crt") and config.get("user.skip") != "true":
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:  # readable by us alone, gone at once
            file.write(config["user.crt"] + "\n" + config.get("user.key", ""))
            file.flush()
            try:
                context.load_cert_chain(file.name)
            except ssl.SSLError as error:
                raise StoreFault(f"user.crt and user.key are no pair in PEM: {error}") from error
    return context
