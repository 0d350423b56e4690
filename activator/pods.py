"""Pods of a revision by identity: their load survives an unready blip.

Path: snapshot → hold.py → [Pod] → policy/pick.py.

Discovery only flips flags; a Pod object, and with it the count of what runs there, lives until the snapshot has
dropped it and its last request has left (style.md §2.11: rebuilding the list forgets the counts).
"""

from dataplane.resources.snapshot import Endpoint


class Pod:
    """Satisfies policy.admission.Slot: taking a slot allocates nothing.

    usable = listed and not draining and proven: it may get requests.
    proven: believed to answer; False after a failure, and for a sidecar until its probe passed.
    """

    activator = False

    __slots__ = (
        "address",
        "draining",
        "failed_at",
        "in_flight",
        "lines",
        "listed",
        "owner",
        "pod",
        "probing",
        "proven",
        "ready",
        "sidecar",
    )

    def __init__(self, endpoint: Endpoint, owner: object) -> None:
        self.pod = endpoint.id
        self.owner = owner  # the Hold it belongs to
        self.in_flight = 0
        self.listed = True
        self.probing = False
        self.failed_at = 0.0
        self.sidecar = endpoint.sidecar
        # A queue-proxy reports too: what the activator has counted must not count twice (spec §9.9).
        self.lines = b"k-proxy-request: activator\r\n" if endpoint.sidecar else b""
        self.proven = endpoint.ready and not endpoint.sidecar
        self.ready = self.draining = False
        self.address = ("", 0)
        self.update(endpoint)

    @property
    def usable(self) -> bool:
        return self.listed and self.proven and not self.draining and (self.ready or self.sidecar)

    def update(self, endpoint: Endpoint) -> None:
        """What discovery says now."""
        host, _, port = endpoint.address.rpartition(":")
        address = (host.strip("[]"), int(port))
        if address != self.address:
            self.address = address
            self.proven = endpoint.ready and not endpoint.sidecar
        elif endpoint.ready and not self.ready and not self.sidecar:
            self.proven = True
        self.listed = True
        self.ready = endpoint.ready
        self.draining = endpoint.draining
