"""Users of a Knative Service for locust: `locust -f loadtests/locustfile.py --host http://127.0.0.1:8080`.

SERVICE_HOST names the Service (default: the autoscale sample of examples/knative-docs); the connection goes to --host:
no name has to resolve. Which users run is chosen as always: `locust … SteadyUser`. With STAGES="10:5 40:40 50:0" (until
second:users) the number of users follows the stages and the run ends after the last.
"""

import os

from locust import FastHttpUser, LoadTestShape, constant, constant_throughput, task

SERVICE_HOST = os.environ.get("SERVICE_HOST", "autoscale-go.default.localhost")
WORK_MS = int(os.environ.get("WORK_MS", "500"))
IDLE_S = float(os.environ.get("IDLE_S", "90"))  # longer than the stable window: the Service goes to zero in between
STAGES = os.environ.get("STAGES", "")


class KnativeServiceUser(FastHttpUser):
    """Talks to one Service through the gateway. A cold start is listed under its own name."""

    abstract = True
    connection_timeout = 10.0
    network_timeout = 310.0

    def request_path(self, path: str, name: str) -> None:
        with self.client.get(path, headers={"Host": SERVICE_HOST}, name=name, catch_response=True) as answer:
            if answer.status_code != 200:
                answer.failure(f"{answer.status_code} {answer.headers.get('x-dp-error', '')}".strip())


class SteadyUser(KnativeServiceUser):
    """One request a second, whatever the answer takes."""

    wait_time = constant_throughput(1)

    @task
    def ask(self) -> None:
        self.request_path("/", "/")


class BusyUser(KnativeServiceUser):
    """Always one request in flight: as many users, as much concurrency. What the autoscaler sees."""

    wait_time = constant(0)

    @task
    def work(self) -> None:
        self.request_path(f"/?sleep={WORK_MS}", f"/?sleep={WORK_MS}")


class RareUser(KnativeServiceUser):
    """Comes when everybody has left: each request finds the Service at zero."""

    wait_time = constant(IDLE_S)

    @task
    def wake(self) -> None:
        self.request_path("/", "/ from zero")


if STAGES:

    class Stages(LoadTestShape):
        """Users by the second: a ramp, a burst, a way down."""

        stages = tuple((float(until), int(users)) for until, users in (stage.split(":") for stage in STAGES.split()))

        def tick(self) -> tuple[int, float] | None:
            now = self.get_run_time()
            return next(((users, 100.0) for until, users in self.stages if now < until), None)
