"""A network that loses packets: a router between us and a host of its own, in network namespaces of this machine.

    us ── veth ── [router: drops `share` of the packets it forwards, either way] ── veth ── [far host]

The kernel here has no netem, nftables does as well. Needs root, `ip` and `nft`; nothing of it is seen outside, and it
is gone after `with`.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from harness import Failed

ROUTER, FAR = "lossy-router", "lossy-far"
SETUP = f"""
netns add {ROUTER}
netns add {FAR}
link add lossy0 type veth peer name near netns {ROUTER}
link add far netns {ROUTER} type veth peer name eth0 netns {FAR}
addr add 198.18.0.1/30 dev lossy0
link set lossy0 up
-n {ROUTER} addr add 198.18.0.2/30 dev near
-n {ROUTER} addr add 198.18.0.5/30 dev far
-n {ROUTER} link set near up
-n {ROUTER} link set far up
-n {FAR} addr add 198.18.0.6/30 dev eth0
-n {FAR} link set eth0 up
-n {FAR} link set lo up
-n {FAR} route add default via 198.18.0.5
route add 198.18.0.4/30 via 198.18.0.2
"""


class Far(NamedTuple):
    """address: of the far host. inside: what a command begins with to run there."""

    address: str
    inside: tuple[str, ...]


@contextmanager
def lossy(share: float) -> Iterator[Far | None]:
    """None, and a line that says so, where it cannot be had. share: of the packets, 0 to 1."""
    missing = [name for name in ("ip", "nft") if shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin") is None]
    if missing or os.geteuid() != 0:
        print(f"  packet loss is left out: it needs {', '.join(missing) or 'root'} (apt-get install iproute2 nftables)")
        yield None
        return
    chain = "{ type filter hook forward priority 0; }"
    drop = f"numgen random mod 1000 < {int(share * 1000)} drop"
    try:
        for line in SETUP.strip().splitlines():
            _run("ip", *line.split())
        _run("ip", "netns", "exec", ROUTER, "sysctl", "-qw", "net.ipv4.ip_forward=1")
        for line in ("table ip lossy", f"chain ip lossy passing {chain}", f"rule ip lossy passing {drop}"):
            _run("ip", "netns", "exec", ROUTER, "nft", f"add {line}")
        yield Far("198.18.0.6", ("ip", "netns", "exec", FAR))
    finally:
        for line in ("link del lossy0", f"netns del {ROUTER}", f"netns del {FAR}"):
            subprocess.run(["ip", *line.split()], stderr=subprocess.DEVNULL, check=False)


def _run(*command: str) -> None:
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        raise Failed(f"lossy network: {' '.join(command)}: {run.stderr.strip()}")
