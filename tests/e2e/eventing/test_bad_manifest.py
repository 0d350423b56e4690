"""Issue "Eventing core", point 9, and appendix B: a Trigger with mistakes is refused with all of them, through both clients."""

import subprocess
import sys
from pathlib import Path

BAD = """apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: bad}
spec:
  broker: default
  filters:
    - exact: {type: a}
      prefix: {type: b}
    - cesql: "type = "
    - regexp: {x: y}
  subscriber: {uri: /relative}
"""


def test_a_trigger_with_four_mistakes_is_refused_with_all_of_them_and_their_places(start, tmp_path: Path):
    up = start("--set", "broker.store=memory")
    path = tmp_path / "bad.yaml"
    path.write_text(BAD)
    said = up.kubectl("apply", "-f", str(path), check=False)
    assert 'admission webhook "validation.webhook.eventing.knative.dev" denied the request' in said
    for place in ("spec.filters[0]", "spec.filters[1].cesql", "spec.filters[2].regexp", "spec.subscriber.uri"):
        assert place in said
    ours = subprocess.run(
        [sys.executable, "-m", "launch", "apply", "-f", str(path), "--data", str(up.data)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ours.returncode == 1
    for place in ("bad.yaml:7:7", "bad.yaml:9:7", "bad.yaml:10:7", "bad.yaml:11:16"):
        assert place in ours.stderr
    assert "not found" in up.kubectl("get", "trigger", "bad", check=False)
