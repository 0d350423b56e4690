"""The file that lets kubectl in: server, token, namespace.

Path: launch → [kubeconfig] → kubectl --kubeconfig.

The token is there twice: as the user's token, which Go's client sends over TLS only, and as the password in the URL,
which makes HTTP clients send Basic authentication. The API is plain HTTP on the loopback interface.

Source: Kubernetes "Organizing Cluster Access Using kubeconfig Files".
"""

import os
from pathlib import Path
from urllib.parse import quote

import msgspec

NAME = "dataplane"


def render(*, server: str, token: str, namespace: str = "default") -> bytes:
    """JSON, which is YAML. `server`: `http://127.0.0.1:8001`."""
    scheme, _, address = server.partition("://")
    server = f"{scheme}://{NAME}:{quote(token, safe='')}@{address}"
    body = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": NAME, "cluster": {"server": server}}],
        "users": [{"name": NAME, "user": {"token": token}}],
        "contexts": [{"name": NAME, "context": {"cluster": NAME, "user": NAME, "namespace": namespace}}],
        "current-context": NAME,
    }
    return msgspec.json.format(msgspec.json.encode(body), indent=2) + b"\n"


def write(path: Path, *, server: str, token: str, namespace: str = "default") -> None:
    """Replaces the file in one step; only the owner may read it, from the first byte on."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(render(server=server, token=token, namespace=namespace))
    new.replace(path)
