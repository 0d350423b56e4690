"""What stands beside every pod must stay light: imports are a budget (after knative's own nodeps_test.go)."""

import subprocess
import sys

import pytest

HEAVY = (
    "aiohttp",
    "yaml",
    "click",
    "prometheus_client",
    "redis",
    "rich",
    "cloudevents",
    "sqlite3",
    "controlplane",
    "launch",
)
SHOW = "import sys; print('\\n'.join(sorted({name.partition('.')[0] for name in sys.modules})))"


def imported_by(module: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"import {module}; {SHOW}"], capture_output=True, text=True, timeout=60, check=True
    )
    return set(done.stdout.split())


@pytest.mark.parametrize("module", ["queueproxy.service", "gateway.accept", "activator.admission"])
def test_a_hop_loads_nothing_heavy(module):
    assert sorted(imported_by(module).intersection(HEAVY)) == []


def test_the_sidecar_does_not_load_the_other_hops():
    assert sorted(imported_by("queueproxy.service").intersection({"gateway", "activator", "autoscaler"})) == []
