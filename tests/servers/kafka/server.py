"""A real Apache Kafka for tests: one KRaft process, its jars from Maven, its data thrown away.

    python tests/servers/kafka/server.py prepare    fetch the jars into the cache (what .ci/run does)
    python tests/servers/kafka/server.py run PORT   run one in the foreground

Jars live outside the checkout, under $DATAPLANE_TESTS_CACHE or ~/.cache/dataplane-tests, by a hash of pom.xml. With
KAFKA_BOOTSTRAP=HOST:PORT the shared server is somebody else's. Without Java or Maven the tests are skipped and say why;
with CI=true that is a failure.

The shared server serves every test process of a machine: whoever comes first starts it, under a lock; whoever holds the
last shared lock when it leaves stops it. One that a killed test run left behind is found and used.
"""

import atexit
import contextlib
import fcntl
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

POM = Path(__file__).parent / "pom.xml"
CACHE = Path(os.environ.get("DATAPLANE_TESTS_CACHE") or Path.home() / ".cache" / "dataplane-tests") / "kafka"
CLUSTER = "LSThEuNrQGqiK963uuqRYQ"
START_S = 60.0
SESSION_S = 6.0 if os.environ.get("KAFKA_BOOTSTRAP") else 1.0  # the least that the server allows

SETTINGS = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={data}
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=2
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=500
auto.create.topics.enable=false
controlled.shutdown.enable=false
log.retention.check.interval.ms=86400000
log.message.timestamp.after.max.ms=9223372036854775807
{more}
"""


_held: str | None = None


class Missing(Exception):
    """This machine cannot run a Kafka server; the message says what it lacks."""


def jars() -> Path:
    """The directory of the jars; fetched once. Raises Missing."""
    libs = CACHE / f"libs-{hashlib.sha256(POM.read_bytes()).hexdigest()[:12]}"
    if not shutil.which("java"):
        raise Missing("no java on this machine; on Debian: apt-get install openjdk-17-jre-headless")
    CACHE.mkdir(parents=True, exist_ok=True)
    with _locked(CACHE / "libs.lock"):
        if libs.exists():
            return libs
        if not shutil.which("mvn"):
            raise Missing(
                "the jars of Kafka are not in the cache and there is no mvn; on Debian: apt-get install maven"
            )
        fresh = libs.with_suffix(f".{os.getpid()}")
        command = ["mvn", "-q", "-B", "-f", str(POM), "dependency:copy-dependencies", "-DincludeScope=runtime"]
        done = subprocess.run([*command, f"-DoutputDirectory={fresh}"], capture_output=True, text=True, timeout=600)
        if done.returncode or not list(fresh.glob("kafka_2*.jar")):
            shutil.rmtree(fresh, ignore_errors=True)
            raise Missing(f"mvn could not fetch Kafka: {(done.stdout + done.stderr)[-400:]}")
        fresh.rename(libs)
    return libs


class Server:
    """One Kafka process on 127.0.0.1. `directory` keeps its data over kill and start."""

    def __init__(self, directory: Path, *, port: int = 0, more: dict[str, str] | None = None) -> None:
        self.directory = directory
        self.port = port or free_port()
        self._controller = free_port()
        self._more = more or {}
        self._process: subprocess.Popen[bytes] | None = None
        self._libs = jars()

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    def start(self, *, detached: bool = False) -> None:
        """Returns when it answers. detached: it outlives this process."""
        data = self.directory / "data"
        settings = self.directory / "server.properties"
        if not settings.exists():
            self.directory.mkdir(parents=True, exist_ok=True)
            more = "\n".join(f"{name}={value}" for name, value in self._more.items())
            settings.write_text(SETTINGS.format(port=self.port, controller=self._controller, data=data, more=more))
            subprocess.run(
                [*self._java("64m"), "kafka.tools.StorageTool", "format", "-t", CLUSTER, "-c", str(settings)],
                check=True,
                capture_output=True,
                timeout=START_S,
            )
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self._java("512m"), "kafka.Kafka", str(settings)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=detached,
            )
        deadline = time.monotonic() + START_S
        while not answers(self.port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"Kafka did not start: {(self.directory / 'log').read_text()[-2000:]}")
            time.sleep(0.05)

    def kill(self) -> None:
        """As the power cut of a process: -9."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def freeze(self) -> None:
        """It holds its connections and answers nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _end(self, by: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(by)
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def _java(self, heap: str) -> list[str]:
        tuned = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"]
        level = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
        return ["java", f"-Xmx{heap}", *tuned, level, "-cp", f"{self._libs}/*"]


@contextlib.contextmanager
def shared() -> Iterator[str]:
    """The bootstrap address of the server that all tests of this machine share. Raises Missing."""
    if outside := os.environ.get("KAFKA_BOOTSTRAP"):
        yield outside
        return
    jars()
    home = CACHE / "shared"
    with (CACHE / "users.lock").open("a+") as users:
        with _locked(CACHE / "start.lock"):
            fcntl.flock(users, fcntl.LOCK_SH)
            where = _running(home)
            if not where:
                shutil.rmtree(home, ignore_errors=True)
                server = Server(home)
                server.start(detached=True)
                (home / "pid").write_text(f"{server.pid} {server.port}")
                where = server.bootstrap
        try:
            yield where
        finally:
            with _locked(CACHE / "start.lock"):
                try:
                    fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    return  # somebody else still uses it
                if _running(home):
                    os.kill(int((home / "pid").read_text().split()[0]), signal.SIGKILL)
                shutil.rmtree(home, ignore_errors=True)


def required() -> str:
    """The shared server for as long as this process lives; skips the test, or fails it in CI, where there is none."""
    import pytest  # the load tests use this file without

    global _held
    if _held is None:
        try:
            context = shared()
            _held = context.__enter__()
            atexit.register(context.__exit__, None, None, None)
        except Missing as missing:
            if os.environ.get("CI") == "true":
                pytest.fail(str(missing))
            pytest.skip(str(missing))
    return _held


def _running(home: Path) -> str:
    try:
        pid, port = (int(word) for word in (home / "pid").read_text().split())
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError):
        return ""
    return f"127.0.0.1:{port}" if b"kafka.Kafka" in command and answers(port) else ""


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    from tests import ports  # `prepare` needs neither a port nor the packages behind this

    return ports.free_port()


def main(arguments: list[str]) -> int:
    if arguments == ["prepare"]:
        print(jars())
        return 0
    if len(arguments) == 2 and arguments[0] == "run":
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        server = Server(CACHE / f"run-{arguments[1]}", port=int(arguments[1]))
        shutil.rmtree(server.directory, ignore_errors=True)
        server.start()
        print(f"ready {server.bootstrap}", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()
        server.kill()
        shutil.rmtree(server.directory, ignore_errors=True)
        return 0
    print((__doc__ or "").split("\n\n")[1], file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
    try:
        sys.exit(main(sys.argv[1:]))
    except Missing as missing:
        sys.exit(f"kafka: {missing}")
