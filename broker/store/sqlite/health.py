"""Whether a broker's file can be written: well, full until a probe fits, or broken for good.

Path: groups.py → [health] → writing.py: the probe.

    well ⇄ full (the disk; a probe each PROBE_S)
      └──────┴──▶ broken (the disk or the file failed: read-only for good; the process should end)

Source: reliability.md BR-06, BR-07, BR-08.
"""

import asyncio
import logging
from collections.abc import Callable

from broker.store.sqlite import faults
from broker.store.sqlite.files import BrokerFile
from broker.store.sqlite.writing import Writer
from dataplane.errors import StoreFault, StoreFull, StoreUnavailable

log = logging.getLogger(__name__)

PROBE_S = 1.0  # between looks at a full disk


class Health:
    """Of one broker's file. Lives on the loop. fault: why appends would fail now, for people; "" when they would not.

    writer: the thread that all orders to the file go through.
    """

    def __init__(
        self, broker: str, file: BrokerFile, broke: Callable[[str], None], has_space: Callable[[], None]
    ) -> None:
        """broke: called once, with what broke it. has_space: called when a disk that was full is so no more."""
        self.fault = ""
        self.full = self.broken = self.closed = False
        self.writer = Writer(file, self.broke)
        self._broker = broker
        self._file = file
        self._told = broke
        self._has_space = has_space
        self._loop = asyncio.get_running_loop()

    def refusal(self) -> StoreFault | None:
        """Why nothing can be written now."""
        if self.closed:
            return StoreUnavailable(f"broker {self._broker} is closed")
        if self.broken:
            return StoreUnavailable(self.fault)
        return StoreFull(self.fault) if self.full else None

    def trouble(self, error: Exception) -> None:
        """A group met it."""
        if faults.full(error):
            if not self.full:
                self.full = True
                self.fault = f"broker {self._broker}: the disk is full"
                log.error("store_full broker=%s path=%s", self._broker, self._file.path)
                self._loop.call_later(PROBE_S, self._probe)
        elif faults.fatal(error):
            self.broke(error)
        elif faults.locked(error):
            log.warning("store_locked broker=%s path=%s", self._broker, self._file.path)
        else:
            log.error("store_write_failed broker=%s path=%s", self._broker, self._file.path, exc_info=error)

    def broke(self, error: Exception) -> None:
        """For good."""
        if self.broken:
            return
        self.broken = True
        self.fault = f"broker {self._broker}: {self._file.path}: {error}"
        log.critical("store_broken broker=%s path=%s", self._broker, self._file.path, exc_info=error)
        self._told(self.fault)

    def _probe(self) -> None:
        if self.closed or self.broken:
            return

        def done(fits: bool | Exception) -> None:
            if fits is True:
                self.full = False
                self.fault = ""
                log.info("store_has_space broker=%s", self._broker)
                self._has_space()
            elif not self.closed:
                self._loop.call_later(PROBE_S, self._probe)

        self.writer.put(self._file.has_space, done)
