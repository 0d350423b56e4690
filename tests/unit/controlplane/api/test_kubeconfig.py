import stat
from pathlib import Path

import yaml

from controlplane.api import kubeconfig


def test_the_file_has_server_token_and_namespace_and_is_the_owners(tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text("old")
    path.chmod(0o644)
    kubeconfig.write(path, server="http://127.0.0.1:8001", token="a/b c")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    config = yaml.safe_load(path.read_text())
    assert config["clusters"][0]["cluster"]["server"] == "http://dataplane:a%2Fb%20c@127.0.0.1:8001"
    assert config["users"][0]["user"] == {"token": "a/b c"}
    assert config["contexts"][0]["context"]["namespace"] == "default"
    assert config["current-context"] == config["contexts"][0]["name"]
    assert list(tmp_path.iterdir()) == [path]
