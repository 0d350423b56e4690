"""Every settings section of every hop, by name: what `dataplane config` prints and docs/settings.md lists.

Path: flags, DATAPLANE_* variables, files → dataplane/runtime/config.py → [settings] → composition roots.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from activator.settings import ActivatorSettings
from autoscaler.settings import Settings as AutoscalerSettings
from broker.settings import BrokerSettings
from dataplane.runtime.config import Loaded, Setting, config_files, load
from gateway.settings import GatewaySettings


class LogSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Section `log`."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Setting(help="the least severe lines that are written", why="info is the life cycle; nothing per request"),
    ] = "info"
    format: Annotated[
        Literal["auto", "text", "json"],
        Setting(help="layout of a line", why="auto: text on a terminal and in `up`, JSON lines otherwise"),
    ] = "auto"


class UpSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Section `up`: what `dataplane up` takes as flags."""

    http: Annotated[str, Setting(help="address of the gateway", unit="HOST:PORT", why="port 0 = any free one")] = (
        "127.0.0.1:8080"
    )
    api: Annotated[
        str, Setting(help="address of the API", unit="HOST:PORT", why="loopback: the API starts programs")
    ] = "127.0.0.1:8001"
    admin: Annotated[
        str,
        Setting(
            help="address of /metrics, /livez, /readyz", unit="HOST:PORT", why="not the API: Prometheus has no token"
        ),
    ] = "127.0.0.1:0"
    local: Annotated[
        str,
        Setting(
            help="address of the listener for cluster-local hosts",
            unit="HOST:PORT",
            why="Services with visibility cluster-local are served here only",
        ),
    ] = "127.0.0.1:0"
    events: Annotated[
        str,
        Setting(
            help="address where brokers take events; port 0 = the one of the last run on this data directory, else any",
            unit="HOST:PORT",
            why="a Broker's address must not change with every start",
        ),
    ] = "127.0.0.1:0"
    domain: Annotated[
        str,
        Setting(help="suffix of hosts: NAME.NAMESPACE.DOMAIN", why="*.localhost is loopback in browsers and curl"),
    ] = "localhost"
    driver: Annotated[Literal["process"], Setting(help="what runs pods", why="process: as local processes")] = "process"
    workers: Annotated[
        int,
        Setting(help="gateway processes that share the HTTP port", min=1, max=64, why="1 is one event loop for all"),
    ] = 1
    in_memory: Annotated[bool, Setting(help="keep resources in memory only", why="for tests and demos")] = False
    sidecars: Annotated[
        bool, Setting(help="put a queue-proxy beside every pod", why="on one machine it costs a hop and earns little")
    ] = False


SECTIONS: Mapping[str, type[msgspec.Struct]] = {
    "up": UpSettings,
    "gateway": GatewaySettings,
    "broker": BrokerSettings,
    "activator": ActivatorSettings,
    "autoscaler": AutoscalerSettings,
    "log": LogSettings,
}


def loaded(flags: Mapping[str, object] | None = None, sets: Mapping[str, str] | None = None) -> Loaded:
    """`--set` over flags over environment over files over defaults. Raises ConfigFault with every mistake."""
    return load(SECTIONS, flags=flags, sets=sets, files=config_files(os.environ, Path.cwd()))
