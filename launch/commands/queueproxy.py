"""`dataplane queueproxy`: hop 3, beside a pod; told by the environment variables of Knative's own sidecar."""

import click


@click.command(short_help="Run the queue-proxy beside a pod (hop 3).")
def command() -> int:
    """Run the queue-proxy beside a pod.

    Its settings are environment variables, those of Knative's queue-proxy image: USER_PORT, QUEUE_SERVING_PORT,
    CONTAINER_CONCURRENCY, REVISION_TIMEOUT_SECONDS, SERVING_READINESS_PROBE and so on; every mistake is told.
    Prints `ready http=…` when it listens.
    """
    from launch.sidecar import serve

    return serve()
