"""The sidecar: renders the page from a ConfigMap, signs it with a Secret; again when either file changes."""

import hashlib
import hmac
import os
import time
from pathlib import Path

SITE = Path(os.environ["SITE_DIR"], "index.html")
TEMPLATE = Path(os.environ["TEMPLATE"])
KEY = Path(os.environ["KEY_FILE"])


def render():
    template = TEMPLATE.read_text()
    signature = hmac.new(KEY.read_bytes(), template.encode(), hashlib.sha256).hexdigest()
    page = template.format(greeting=os.environ["GREETING"], service=os.environ["K_SERVICE"], signature=signature)
    fresh = SITE.with_suffix(".new")
    fresh.write_text(page)
    fresh.replace(SITE)  # a reader sees the old page or the new one


if __name__ == "__main__":
    seen = None
    while True:
        now = TEMPLATE.read_text(), KEY.read_bytes()
        if now != seen:
            render()
            print("rendered", flush=True)
            seen = now
        time.sleep(0.5)
