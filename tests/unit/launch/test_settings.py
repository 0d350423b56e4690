import subprocess
import sys
from pathlib import Path

from dataplane.runtime.config import fields, load
from launch.settings import SECTIONS

ROOT = Path(__file__).parents[3]


def test_every_default_is_within_its_own_bounds_and_says_what_it_is_for() -> None:
    loaded = load(SECTIONS, flags={f"{f.section}.{f.name}": f.default for f in fields(SECTIONS)}, environ={})
    assert len(loaded.values) == len(fields(SECTIONS))
    for field in fields(SECTIONS):
        assert field.setting.help, field


def test_the_settings_page_is_what_the_structs_say() -> None:
    done = subprocess.run(
        [sys.executable, "tools/settings.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")
