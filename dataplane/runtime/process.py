"""A process: start in order, run until a signal, stop in reverse order, leave nothing behind.

Path: launch/*.py hands a composition root to [process], which owns the loop and the signals.

    async def compose(life: Lifecycle) -> None:
        await store.open()
        life.on_stop("store", store.close)
        await listener.start()
        life.on_stop("listener", listener.drain, within_s=30)   # started last, so drained first

    sys.exit(run(compose))

SIGTERM or SIGINT: drain and exit 0. A second one: leave at once (supervised pods die with us). SIGHUP: reload.

Source: design/ecosystem.md §3.2 (exit codes), §3.3 (drain on SIGTERM).
"""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NamedTuple

from dataplane.errors import ConfigFault

log = logging.getLogger(__name__)

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_TIMEOUT, EXIT_INTERRUPTED = 0, 1, 2, 124, 130

Stop = Callable[[], Awaitable[None]]


class _Step(NamedTuple):
    name: str
    stop: Stop
    within_s: float


class Lifecycle:
    """What a composition root registers. Every method is called on the loop."""

    __slots__ = ("_steps", "_reloads", "_ending", "_failure", "_starting")

    def __init__(self) -> None:
        self._steps: list[_Step] = []
        self._reloads: list[Callable[[], None]] = []
        self._ending = asyncio.Event()
        self._failure = ""
        self._starting: asyncio.Task[object] | None = None

    async def start(self, compose: "Compose") -> None:
        """Run `compose`; `end` meanwhile (a signal) cancels it, which is no error."""
        self._starting = asyncio.current_task()
        assert self._starting is not None
        try:
            await compose(self)
        except asyncio.CancelledError:
            if not self.ending:
                raise
            self._starting.uncancel()
        finally:
            self._starting = None

    def on_stop(self, name: str, stop: Stop, *, within_s: float = 10.0) -> None:
        """Stop steps run in reverse order of registration; one that fails or takes too long does not stop the rest."""
        self._steps.append(_Step(name, stop, within_s))

    def on_reload(self, reload: Callable[[], None]) -> None:
        """Call at SIGHUP."""
        self._reloads.append(reload)

    def end(self, failure: str = "") -> None:
        """Begin to stop. With `failure` the exit code is 1; the first one wins."""
        self._failure = self._failure or failure
        self._ending.set()
        if self._starting is not None and self._starting is not asyncio.current_task():
            self._starting.cancel()

    @property
    def ending(self) -> bool:
        return self._ending.is_set()

    @property
    def failure(self) -> str:
        return self._failure

    async def ended(self) -> None:
        """Wait until somebody called `end`."""
        await self._ending.wait()

    def reload(self) -> None:
        for one in self._reloads:
            one()

    async def stop(self) -> None:
        """Run the stop steps, the newest first."""
        self._ending.set()
        loop = asyncio.get_running_loop()
        while self._steps:
            name, stop, within_s = self._steps.pop()
            started = loop.time()
            try:
                async with asyncio.timeout_at(started + within_s):
                    await stop()
            except TimeoutError:
                log.warning("stop_timed_out step=%s within_s=%s", name, within_s)
            except Exception:  # the other steps must still run
                log.exception("stop_failed step=%s", name)
            else:
                log.debug("stopped step=%s took_s=%.3f", name, loop.time() - started)


Compose = Callable[[Lifecycle], Awaitable[None]]


def new_loop() -> asyncio.AbstractEventLoop:
    """uvloop where it is installed; DATAPLANE_LOOP=asyncio takes the other one (for debugging)."""
    if os.environ.get("DATAPLANE_LOOP") != "asyncio":
        with contextlib.suppress(ImportError):
            import uvloop  # lazily: a command that only prints must not load it

            loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
            return loop
    return asyncio.new_event_loop()


def run(compose: Compose, *, complain: Callable[[str], None] | None = None) -> int:
    """Run a component set until a signal or `Lifecycle.end`; returns the exit code.

    A ConfigFault or OSError (a port in use) from `compose` is told to `complain` (default: stderr) in words, exit 1.
    """
    say = complain if complain is not None else _stderr
    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(_main(compose, say))


async def _main(compose: Compose, say: Callable[[str], None]) -> int:
    asyncio.get_running_loop().set_exception_handler(_uncaught)
    life = Lifecycle()
    async with _signals(life):
        try:
            await life.start(compose)
        except (ConfigFault, OSError) as error:
            life.end(str(error) or type(error).__name__)
        except Exception as error:
            log.exception("start_failed")
            life.end(f"internal error: {error!r}")
        else:
            await life.ended()
        if life.failure:
            say(life.failure)
        await life.stop()
        _report_left()
    return EXIT_FAILED if life.failure else EXIT_OK


@contextlib.asynccontextmanager
async def _signals(life: Lifecycle) -> AsyncIterator[None]:
    loop = asyncio.get_running_loop()

    def ask(number: int) -> None:
        if life.ending:
            _leave_now(number)
        log.info("stopping signal=%s", signal.Signals(number).name)
        life.end()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ask, number)
    loop.add_signal_handler(signal.SIGHUP, life.reload)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.remove_signal_handler(number)


def _uncaught(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Where the bug is, without what asyncio would add: the callback's arguments, which may be somebody's event."""
    error = context.get("exception")
    task = context.get("task")
    if error is None:
        log.error("loop_failed message=%s", str(context.get("message"))[:200])
    else:
        log.error("uncaught task=%s error=%s", task.get_name() if task else "", type(error).__name__, exc_info=error)


def _leave_now(number: int) -> None:
    sys.stderr.write("second signal: leaving without a drain\n")
    sys.stderr.flush()
    os._exit(128 + number)


def _report_left() -> None:
    """A task that outlives its owner is a bug of the owner; the Runner cancels it, and we say whose it was."""
    left = [t.get_name() for t in asyncio.all_tasks() if t is not asyncio.current_task()]
    if left:
        log.warning("tasks_left count=%d names=%s", len(left), ",".join(sorted(left)[:10]))


def _stderr(text: str) -> None:
    for line in text.splitlines():
        sys.stderr.write(f"error: {line}\n")
    sys.stderr.flush()
