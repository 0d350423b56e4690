"""What `func build` puts around a function: func-python serves it on the port of the runtime contract."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
os.environ.setdefault("LISTEN_ADDRESS", f"0.0.0.0:{os.environ.get('PORT', '8080')}")

from func_python.http import serve
from function import new

if __name__ == "__main__":
    serve(new)
