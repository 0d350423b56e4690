"""Drives the autoscale sample with locust and draws users, desired and actual pods over time into a picture.

Starts a `dataplane up` of its own (or uses the instance of --data), applies the Service with short windows, runs the
users of locustfile.py and writes results/pods_over_time.png and, beside it, the samples as JSON lines.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from harness import HERE, ROOT, Bench, machine
from subjects import Client, service, up

NAME = "autoscale-go"
IMAGE = "ghcr.io/knative/autoscale-go:latest"
ANNOTATIONS = {
    "autoscaling.knative.dev/target": "10",
    "autoscaling.knative.dev/window": "10s",
    "autoscaling.knative.dev/max-scale": "20",
}
SAMPLE_S = 0.2


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", help="data folder of a running instance; default: start one")
    parser.add_argument("--stages", default="10:5 40:40 70:100 100:20 110:0", help="'UNTIL_S:USERS …'")
    parser.add_argument("--user", default="BusyUser", help="a class of locustfile.py")
    parser.add_argument("--after", type=float, default=30, help="seconds to watch after the last user has left")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "pods_over_time.png")
    chosen = parser.parse_args()
    with Bench(rounds=1, seconds=1) as bench:
        if chosen.data:
            data = chosen.data
            gateway = json.loads(Path(data, "instance.json").read_text())["http"]
        else:
            subject, data = up(bench, images=ROOT / "examples" / "knative-docs" / "images.yaml")
            gateway = f"http://127.0.0.1:{subject.port}"
        client = Client(data)
        client.apply(service(NAME, IMAGE, annotations=ANNOTATIONS))
        client.wait_ready(NAME)
        print(f"{NAME} is ready at {gateway}; {chosen.user} comes in stages {chosen.stages}", flush=True)
        samples = drive(client, gateway, chosen.stages, chosen.user, chosen.after)
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    draw(samples, chosen.stages, chosen.out)
    with chosen.out.with_suffix(".jsonl").open("w") as out:
        out.write(json.dumps({**machine(), "stages": chosen.stages, "annotations": ANNOTATIONS}) + "\n")
        out.writelines(json.dumps(sample) + "\n" for sample in samples)
    print(f"→ {chosen.out}")


def drive(client: Client, gateway: str, stages: str, user: str, after_s: float) -> list[dict[str, float]]:
    """Runs locust to its end and samples the Service's pods meanwhile, and for a while after."""
    locust = [str(Path(sys.executable).with_name("locust")), "-f", str(HERE / "locustfile.py"), "--headless"]
    environment = os.environ | {"STAGES": stages, "SERVICE_HOST": f"{NAME}.default.localhost"}
    command = [*locust, "--only-summary", "--host", gateway, user]
    began = time.monotonic()
    samples: list[dict[str, float]] = []
    left_at = None
    with subprocess.Popen(command, env=environment, cwd=HERE) as users:
        try:
            while left_at is None or time.monotonic() - left_at < after_s:
                samples.append({"at_s": time.monotonic() - began, **pods(client)})
                time.sleep(SAMPLE_S)
                if left_at is None and users.poll() is not None:
                    left_at = time.monotonic()
        finally:
            users.terminate()
    return samples


def pods(client: Client) -> dict[str, float]:
    """Desired and actual (ready) pods, summed over the Service's revisions."""
    group = "/apis/serving.knative.dev/v1/namespaces/default/revisions"
    items = client.call("GET", f"{group}?labelSelector=serving.knative.dev%2Fservice%3D{NAME}")["items"]
    found = [item.get("status", {}) for item in items]
    return {
        "desired": sum(status.get("desiredReplicas", 0) for status in found),
        "actual": sum(status.get("actualReplicas", 0) for status in found),
    }


def draw(samples: list[dict[str, float]], stages: str, out: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(11, 5))
    at = [sample["at_s"] for sample in samples]
    axis.step(at, [sample["desired"] for sample in samples], where="post", label="desired pods", color="tab:orange")
    axis.step(at, [sample["actual"] for sample in samples], where="post", label="actual pods", color="tab:blue")
    axis.set_xlabel("seconds")
    axis.set_ylabel("pods")
    users_axis = axis.twinx()
    ends = [tuple(map(float, stage.split(":"))) for stage in stages.split()]
    edges = [0.0, *(until for until, _ in ends)]
    users_axis.stairs([users for _, users in ends], edges, color="tab:gray", alpha=0.4, fill=True, label="users")
    users_axis.set_ylabel("users, each with one request in flight")
    axis.set_zorder(users_axis.get_zorder() + 1)
    axis.patch.set_visible(False)
    handles = axis.get_legend_handles_labels()[0] + users_axis.get_legend_handles_labels()[0]
    axis.legend(handles=handles, loc="upper right")
    axis.set_title(f"{NAME}: target 10, window 10 s")
    figure.tight_layout()
    figure.savefig(out, dpi=120)


if __name__ == "__main__":
    main()
