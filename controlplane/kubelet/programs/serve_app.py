"""`image: python://module:app`: serve a Knative function, an ASGI or a WSGI application on $PORT.

Path: kubelet/images.py → [serve_app process] ← requests.

`module:name`; without a name `new`, `handle`, `main`, `app` and `application` are tried. `new` and `handle` are Knative
functions and need func-python; a coroutine function or an object with an asynchronous `__call__` is ASGI and needs
uvicorn; everything else callable is WSGI and needs nothing.
"""

import importlib
import inspect
import os
import signal
import sys
from typing import Any

NAMES = ("new", "handle", "main", "app", "application")


def find(reference: str) -> tuple[str, Any]:
    """(name, object). Raises SystemExit with a sentence when there is no such thing."""
    module_name, _, name = reference.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name != module_name:
            raise
        sys.exit(f"no module {module_name!r} in {os.getcwd()} (set workingDir) or installed for {sys.executable}")
    for one in (name,) if name else NAMES:
        if hasattr(module, one):
            return one, getattr(module, one)
    sys.exit(f"module {module_name!r} has no {name or ' nor '.join(NAMES)!r}")


def is_asgi(app: Any) -> bool:
    call = app if inspect.isfunction(app) else type(app).__call__.__get__(app)
    return inspect.iscoroutinefunction(call) or len(_positional(call)) == 3


def _positional(call: Any) -> list[str]:
    try:
        return [p.name for p in inspect.signature(call).parameters.values() if p.default is p.empty]
    except (TypeError, ValueError):
        return []


def serve_function(name: str, function: Any) -> None:
    try:
        http: Any = importlib.import_module("func_python.http")
    except ImportError:
        sys.exit("a Knative function needs: pip install func-python")
    os.environ.setdefault("LISTEN_ADDRESS", f"127.0.0.1:{os.environ['PORT']}")
    http.serve(function)


def serve_asgi(app: Any) -> None:
    port = int(os.environ["PORT"])
    try:
        import uvicorn
    except ImportError:
        sys.exit("an ASGI application needs: pip install uvicorn")
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")


def serve_wsgi(app: Any) -> None:
    from socketserver import ThreadingMixIn
    from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

    class Server(ThreadingMixIn, WSGIServer):
        daemon_threads = True
        request_queue_size = 128

    class Quiet(WSGIRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    make_server("127.0.0.1", int(os.environ["PORT"]), app, Server, Quiet).serve_forever()


def main(reference: str) -> None:
    sys.path[0] = os.getcwd()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    name, app = find(reference)
    if name in ("new", "handle"):
        serve_function(name, app)
    elif is_asgi(app):
        serve_asgi(app)
    else:
        serve_wsgi(app)


if __name__ == "__main__":
    main(sys.argv[1])
