"""Pods of this machine: the images that are known, the driver, the kubelet.

Path: all_in_one → [pods] → controlplane/kubelet, controlplane/drivers/process.py.

What was said about images with --images or -f is kept in the data directory, like the resources that name them: a
restart without the files still knows how to run what was applied.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec

from controlplane.drivers.process import DriverSettings, ProcessDriver
from controlplane.kubelet.images import Image, load_images
from controlplane.kubelet.kubelet import InFlight, Kubelet, OnEndpoints
from controlplane.kubelet.settings import KubeletSettings, host_env
from controlplane.store.contract import Store
from launch import instance
from launch.settings import UpSettings
from launch.startup import Ground

_KEPT = "images.json"


class Pods(NamedTuple):
    """The kubelet, and whether its driver can run anything (for /readyz)."""

    kubelet: Kubelet
    not_ready: Callable[[], str]


def make_pods(
    ground: Ground,
    *,
    store: Store,
    data: Path,
    images: tuple[Path, ...],
    on_endpoints: OnEndpoints,
    in_flight: InFlight,
) -> Pods:
    """Not started yet. Raises ConfigFault naming the images file and what is wrong in it."""
    settings = ground.settings.section("up", UpSettings)
    home = data.absolute()
    driver = ProcessDriver(
        clock=ground.clock, registry=ground.registry, settings=DriverSettings(instance=str(home / "pods"))
    )
    kubelet = Kubelet(
        store=store,
        driver=driver,
        clock=ground.clock,
        settings=KubeletSettings(
            data=home,
            images=known_images(home, images),
            working_dir=str(Path.cwd()),
            sidecars=settings.sidecars,
            host_env=host_env(),
        ),
        on_endpoints=on_endpoints,
        in_flight=in_flight,
    )
    return Pods(kubelet, lambda: "" if driver.nursery_pid else "the process supervisor is being restarted")


def known_images(data: Path, files: tuple[Path, ...]) -> dict[str, Image]:
    """Those of `files` over those of earlier runs; kept for the next one."""
    kept = data / _KEPT
    images = load_images([*([kept] if kept.exists() else []), *files])
    if files:
        instance.write_private(kept, msgspec.json.encode({"images": images}).decode() + "\n")
    return images
