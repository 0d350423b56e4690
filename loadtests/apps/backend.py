"""Becomes nginx on $PORT with the configuration of peers/backend.conf: a pod that is never the bottleneck."""

import os
import sys
import tempfile
from pathlib import Path

folder = tempfile.mkdtemp(prefix="bench-pod-")
template = Path(__file__).resolve().parent.parent / "peers" / "backend.conf"
config = Path(folder, "nginx.conf")
config.write_text(template.read_text().replace("${PORT}", os.environ["PORT"]).replace("${DIR}", folder))
os.execvp("nginx", ["nginx", "-p", folder, "-e", "stderr", "-c", str(config), *sys.argv[1:]])
