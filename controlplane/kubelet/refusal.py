"""Why a pod cannot be started as it is written."""


class NotRunnable(Exception):
    """`reason` is the container's waiting reason, in Kubernetes' words where it has one. It may be cured by a change
    of a ConfigMap or Secret. `container` "" = all of them."""

    def __init__(self, reason: str, message: str, container: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.container = container


CONFIG_ERROR = "CreateContainerConfigError"
