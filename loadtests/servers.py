"""Servers that event stores need, started for one benchmark; None, with a word why, where they are not installed."""

import shutil
import sys

from harness import ROOT, Bench, Subject, free_port


def start_redis(bench: Bench, appendfsync: str = "always") -> Subject | None:
    """Debian's, with an append-only file, on loopback."""
    binary = shutil.which("redis-server")
    if binary is None:
        print("  left out: redis-server is missing (apt-get install redis-server)", flush=True)
        return None
    port = free_port()
    folder = bench.folder / f"redis-{port}"
    folder.mkdir()
    options = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
    return bench.start("redis", [binary, *options, "--appendonly", "yes", "--appendfsync", appendfsync], port)


def redis(bench: Bench) -> str | None:
    """Its URL; `appendfsync always`."""
    server = start_redis(bench)
    return None if server is None else f"redis://127.0.0.1:{server.port}/0"


def kafka(bench: Bench) -> str | None:
    """Its bootstrap address: the broker that the tests use."""
    if not (shutil.which("java") and shutil.which("mvn")):
        print("  left out: Kafka needs Java and Maven (apt-get install openjdk-17-jre-headless maven)", flush=True)
        return None
    port = free_port()
    script = ROOT / "tests" / "servers" / "kafka" / "server.py"
    bench.start("kafka", [sys.executable, str(script), "run", str(port)], port, env={"PYTHONPATH": str(ROOT)})
    return f"127.0.0.1:{port}"
