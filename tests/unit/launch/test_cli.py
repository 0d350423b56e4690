import importlib
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from launch.cli import COMMANDS, HOPS, cli, main

ROOT = Path(__file__).parents[3]


def _python(code: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **environ},
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("arguments", [["--help"], ["get", "--help"], ["up", "--help"], ["completion", "bash"]])
def test_help_answers_without_importing_what_it_does_not_need(arguments: list[str]) -> None:
    done = _python(
        "import sys\nfrom launch.cli import main\n"
        f"code = main({arguments!r})\n"
        "heavy = {'aiohttp', 'uvloop', 'msgspec', 'orjson', 'yaml', 'rich', 'asyncio', 'http.client'}\n"
        "heavy &= set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else code)"
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_every_command_exists_and_its_help_line_is_the_one_in_the_table() -> None:
    for name, (module, line) in (COMMANDS | HOPS).items():
        command = importlib.import_module(module).command
        assert isinstance(command, click.Command), name
        assert command.short_help == line, name


def test_help_lists_every_command_of_the_issue() -> None:
    text = CliRunner().invoke(cli, ["--help"]).output
    wanted = (
        "up apply get describe explain delete logs traffic scale invoke kubeconfig doctor config completion version"
    )
    for name in (*wanted.split(), "gateway", "activator", "queueproxy", "autoscaler"):
        assert f"\n  {name} " in text


def test_a_misspelt_command_is_told_the_right_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["aply"]) == 2
    assert 'no command "aply"; did you mean "apply"?' in capsys.readouterr().err


def test_usage_errors_exit_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["get", "ksvc", "-o", "xml"]) == 2
    assert "expected wide, yaml, json, name or jsonpath=TEMPLATE" in capsys.readouterr().err


def test_without_an_instance_a_command_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["get", "ksvc", "--data", str(tmp_path)]) == 1
    expected = (
        f"error: no instance runs on {tmp_path}; start one with `dataplane up`, or name its directory with --data DIR\n"
    )
    assert capsys.readouterr().err == expected


def test_the_directory_may_be_named_before_the_command_or_by_a_variable(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    main(["--data", str(tmp_path / "a"), "get", "ksvc"])
    assert f"no instance runs on {tmp_path / 'a'}" in capsys.readouterr().err
    monkeypatch.setenv("DATAPLANE_DATA", str(tmp_path / "b"))
    main(["get", "ksvc"])
    assert f"no instance runs on {tmp_path / 'b'}" in capsys.readouterr().err


def test_python_m_launch_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "launch", "version"], capture_output=True, text=True, cwd=ROOT, timeout=60, check=False
    )
    assert done.returncode == 0
    assert done.stdout.startswith("dataplane ")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_name_the_command(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    assert "_DATAPLANE_COMPLETE" in capsys.readouterr().out


def test_completion_offers_commands_and_kinds() -> None:
    done = _python(
        "from launch.cli import main; main([])",
        _DATAPLANE_COMPLETE="bash_complete",
        COMP_WORDS="dataplane des",
        COMP_CWORD="1",
    )
    assert done.stdout.split() == ["plain,describe"]
    done = _python(
        "from launch.cli import main; main([])",
        _DATAPLANE_COMPLETE="bash_complete",
        COMP_WORDS="dataplane get ksv",
        COMP_CWORD="2",
    )
    assert done.stdout.split() == ["plain,ksvc"]


def test_config_prints_every_setting_with_its_origin(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    monkeypatch.setenv("DATAPLANE_UP_WORKERS", "3")
    (tmp_path / "dataplane.yaml").write_text("gateway: {idle_timeout_s: 5}")
    assert main(["config", "--origin"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "up.workers = 3 (env DATAPLANE_UP_WORKERS)" in lines
    assert f"gateway.idle_timeout_s = 5 (file {tmp_path / 'dataplane.yaml'})" in lines
    assert "up.domain = localhost (default)" in lines


def test_config_with_a_mistake_exits_1_with_all_of_them(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATAPLANE_UP_WORKERS", "none")
    monkeypatch.setenv("DATAPLANE_LOG_LEVEL", "loud")
    assert main(["config"]) == 1
    err = capsys.readouterr().err
    assert "error: env DATAPLANE_UP_WORKERS: up.workers: 'none' is not a whole number from 1 to 64\n" in err
    assert "error: env DATAPLANE_LOG_LEVEL: log.level: 'loud' is not one of debug, info, warning, error\n" in err


def test_doctor_says_how_to_fix_what_it_finds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["doctor", "--data", str(tmp_path)])
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("++ python") for line in lines)
    assert all("→" in line for line in lines if line[:2] in ("??", "!!"))


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_command_whose_standard_streams_are_closed_does_its_work(closed: str) -> None:
    command = ["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-m", "launch", "version"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
