from pathlib import Path
from typing import Annotated, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataplane.errors import ConfigFault
from dataplane.runtime.config import Setting, config_files, fields, load


class Gateway(msgspec.Struct, frozen=True, kw_only=True):
    idle_timeout_s: Annotated[float, Setting(help="Close idle connections after this.", unit="s", min=0, max=3600)] = (
        60.0
    )
    backlog: Annotated[int, Setting(help="Listen backlog.", min=1)] = 1024
    strict: Annotated[bool, Setting(help="Refuse odd framing.")] = True
    mode: Annotated[Literal["fast", "safe"], Setting(help="Mode.")] = "fast"
    hosts: Annotated[tuple[str, ...], Setting(help="Hosts.")] = ()
    token: Annotated[str, Setting(help="Token.", secret=True)] = ""


SECTIONS = {"gateway": Gateway}


def _file(tmp_path: Path, text: str, name: str = "dataplane.yaml") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def _origin(loaded: object, name: str) -> str:
    return next(v.origin for v in loaded.values if v.name == name)  # type: ignore[attr-defined]


def test_a_flag_beats_the_environment_beats_the_file_beats_the_default(tmp_path: Path) -> None:
    path = _file(tmp_path, "gateway: {idle_timeout_s: 10, backlog: 10, strict: false}")
    environ = {"DATAPLANE_GATEWAY_IDLE_TIMEOUT_S": "20", "DATAPLANE_GATEWAY_BACKLOG": "20"}
    loaded = load(SECTIONS, flags={"gateway.idle_timeout_s": "30"}, environ=environ, files=[path])
    settings = loaded.section("gateway", Gateway)
    assert (settings.idle_timeout_s, settings.backlog, settings.strict, settings.mode) == (30.0, 20, False, "fast")
    assert _origin(loaded, "idle_timeout_s") == "flag --idle-timeout-s"
    assert _origin(loaded, "backlog") == "env DATAPLANE_GATEWAY_BACKLOG"
    assert _origin(loaded, "strict") == f"file {path}"
    assert _origin(loaded, "mode") == "default"


def test_set_beats_a_flag_of_its_own_and_both_are_named_as_they_were_written() -> None:
    loaded = load(SECTIONS, flags={"gateway.backlog": "1"}, sets={"gateway.backlog": "2"}, environ={})
    assert (loaded.section("gateway", Gateway).backlog, _origin(loaded, "backlog")) == (2, "flag --set gateway.backlog")
    with pytest.raises(ConfigFault) as found:
        load(SECTIONS, flags={"gateway.backlog": "x"}, sets={"gateway.mode": "x", "gateway.none": "x"}, environ={})
    assert [line.split(": ")[0] for line in str(found.value).splitlines()] == [
        "flag --set gateway.none",
        "flag --backlog",
        "flag --set gateway.mode",
    ]


def test_the_nearer_file_beats_the_farther_one(tmp_path: Path) -> None:
    near, far = _file(tmp_path, "gateway: {backlog: 1}", "a.yaml"), _file(tmp_path, "gateway: {backlog: 2}", "b.yaml")
    assert load(SECTIONS, environ={}, files=[near, far]).section("gateway", Gateway).backlog == 1


def test_the_files_are_the_projects_own_then_the_users() -> None:
    found = config_files({"HOME": "/home/u"}, Path("/p"))
    assert found == [Path("/p/dataplane.yaml"), Path("/home/u/.config/dataplane/config.yaml")]
    assert config_files({"XDG_CONFIG_HOME": "/c"}, Path("/p"))[1] == Path("/c/dataplane/config.yaml")


def test_every_mistake_is_told_at_once_with_its_origin_and_what_would_be_right(tmp_path: Path) -> None:
    path = _file(tmp_path, "gateway: {idel_timeout_s: 10, backlog: many}\ngatway: {}")
    environ = {"DATAPLANE_GATEWAY_MODE": "slow", "DATAPLANE_GATEWAY_IDLE_TIMEOUT_S": "4000"}
    with pytest.raises(ConfigFault) as caught:
        load(SECTIONS, environ=environ, files=[path])
    assert str(caught.value).splitlines() == [
        f'file {path}: gateway.idel_timeout_s: unknown setting; did you mean "gateway.idle_timeout_s"?',
        f'file {path}: gatway: unknown setting; did you mean "gateway"?',
        "env DATAPLANE_GATEWAY_IDLE_TIMEOUT_S: gateway.idle_timeout_s: 4000.0 is out of bounds; "
        "expected a number (s) from 0 to 3600",
        f"file {path}: gateway.backlog: 'many' is not a whole number, at least 1",
        "env DATAPLANE_GATEWAY_MODE: gateway.mode: 'slow' is not one of fast, safe",
    ]


def test_a_misspelt_variable_of_a_known_section_is_an_error_and_others_are_left_alone() -> None:
    load(SECTIONS, environ={"DATAPLANE_DATA": "/x", "PATH": "/bin"})
    with pytest.raises(ConfigFault, match='did you mean "DATAPLANE_GATEWAY_BACKLOG"'):
        load(SECTIONS, environ={"DATAPLANE_GATEWAY_BACKLG": "3"})


def test_text_of_a_file_is_not_taken_for_a_number_but_a_variable_is(tmp_path: Path) -> None:
    with pytest.raises(ConfigFault, match="'12' is not a whole number"):
        load(SECTIONS, environ={}, files=[_file(tmp_path, "gateway: {backlog: '12'}")])
    assert load(SECTIONS, environ={"DATAPLANE_GATEWAY_BACKLOG": "12"}).section("gateway", Gateway).backlog == 12


def test_lists_and_switches_are_read_from_variables() -> None:
    environ = {"DATAPLANE_GATEWAY_HOSTS": "a, b", "DATAPLANE_GATEWAY_STRICT": "off"}
    settings = load(SECTIONS, environ=environ).section("gateway", Gateway)
    assert settings.hosts == ("a", "b")
    assert settings.strict is False


def test_a_broken_file_names_itself(tmp_path: Path) -> None:
    for text, words in (
        ("gateway: [", "not YAML"),
        ("- a", "expected a mapping of sections"),
        ("gateway: 3", "mapping"),
    ):
        with pytest.raises(ConfigFault, match=words):
            load(SECTIONS, environ={}, files=[_file(tmp_path, text)])


def test_a_missing_or_empty_file_is_no_file(tmp_path: Path) -> None:
    files = [tmp_path / "nothing.yaml", _file(tmp_path, "")]
    assert load(SECTIONS, environ={}, files=files).section("gateway", Gateway) == Gateway()


def test_a_secret_is_shown_as_stars_in_values_and_in_errors() -> None:
    loaded = load(SECTIONS, environ={"DATAPLANE_GATEWAY_TOKEN": "hunter2"})
    assert [v.line for v in loaded.values if v.name == "token"] == ["gateway.token = ***"]


def test_values_print_as_an_operator_would_write_them() -> None:
    lines = [v.line for v in load(SECTIONS, environ={}).values]
    assert lines[:4] == [
        "gateway.idle_timeout_s = 60",
        "gateway.backlog = 1024",
        "gateway.strict = true",
        "gateway.mode = fast",
    ]


def test_every_field_names_its_variable_and_type() -> None:
    found = {f.name: (f.variable, f.type_name) for f in fields(SECTIONS)}
    assert found["backlog"] == ("DATAPLANE_GATEWAY_BACKLOG", "int")
    assert found["mode"] == ("DATAPLANE_GATEWAY_MODE", "fast | safe")


@given(st.floats())
def test_no_number_outside_the_bounds_gets_through_not_even_nan(number: float) -> None:
    try:
        value = load(SECTIONS, flags={"gateway.idle_timeout_s": number}, environ={}).section("gateway", Gateway)
    except ConfigFault:
        assert not 0 <= number <= 3600
    else:
        assert 0 <= value.idle_timeout_s <= 3600
