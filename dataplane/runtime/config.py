"""Settings are structs; one loader: flag > environment > file > default, and every value knows where it came from.

Path: settings.py of each hop declares → [config] ← flags, DATAPLANE_* variables, dataplane.yaml → launch composes.

    class Settings(msgspec.Struct, frozen=True, kw_only=True):
        idle_timeout_s: Annotated[float, Setting(help="…", unit="s", why="…", min=0)] = 60.0

Loading collects every mistake before it raises one ConfigFault: the place, the name, what would be right.

Source: design/ecosystem.md §3.2.
"""

import difflib
import os
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, TypeVar, get_args, get_origin

import msgspec

from dataplane.errors import ConfigFault
from dataplane.telemetry.logs import Redacted

S = TypeVar("S", bound=msgspec.Struct)
FILE_BYTES_MAX = 1024 * 1024
_PREFIX = "DATAPLANE_"


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator should know about one value. min and max are inclusive; `secret` is shown as ***."""

    help: str
    unit: str = ""
    why: str = ""
    min: float | None = None
    max: float | None = None
    secret: bool = False


class Field(NamedTuple):
    """One declared setting, as the documentation and the loader see it."""

    section: str
    name: str
    type: object
    default: object
    setting: Setting

    @property
    def variable(self) -> str:
        return f"{_PREFIX}{self.section}_{self.name}".upper()

    @property
    def type_name(self) -> str:
        if get_origin(self.type) is Literal:
            return " | ".join(str(word) for word in get_args(self.type))
        return getattr(self.type, "__name__", str(self.type)) if not get_args(self.type) else str(self.type)


class Value(NamedTuple):
    """One value in force and its origin: `flag --x`, `flag --set X`, `env DATAPLANE_…`, `file PATH` or `default`."""

    section: str
    name: str
    value: object
    origin: str
    secret: bool

    @property
    def line(self) -> str:
        return f"{self.section}.{self.name} = {_shown(self.value, self.secret)}"


class Loaded:
    """The result: the struct of each section, and every value with its origin."""

    def __init__(self, structs: dict[str, msgspec.Struct], values: tuple[Value, ...]) -> None:
        self._structs = structs
        self.values = values

    def section(self, name: str, type_: type[S]) -> S:
        found = self._structs[name]
        assert isinstance(found, type_)
        return found


def fields(sections: Mapping[str, type[msgspec.Struct]]) -> list[Field]:
    """Every declared setting in order. A field without a `Setting` is a programming error."""
    out = []
    for section, struct in sections.items():
        hints = typing.get_type_hints(struct, include_extras=True)
        for one in msgspec.structs.fields(struct):
            hint = hints[one.name]
            assert get_origin(hint) is Annotated, f"{struct.__name__}.{one.name} carries no Setting"
            type_, *notes = get_args(hint)
            setting = next((n for n in notes if isinstance(n, Setting)), None)
            assert setting is not None, f"{struct.__name__}.{one.name} carries no Setting"
            default = one.default if one.default_factory is msgspec.NODEFAULT else one.default_factory()
            assert default is not msgspec.NODEFAULT, f"{struct.__name__}.{one.name} has no default"
            out.append(Field(section, one.name, type_, default, setting))
    return out


def config_files(environ: Mapping[str, str], cwd: Path) -> list[Path]:
    """Where a file may be, the strongest first."""
    home = environ.get("XDG_CONFIG_HOME") or str(Path(environ.get("HOME", "/")) / ".config")
    return [cwd / "dataplane.yaml", Path(home) / "dataplane" / "config.yaml"]


def load(
    sections: Mapping[str, type[msgspec.Struct]],
    *,
    flags: Mapping[str, object] | None = None,
    sets: Mapping[str, str] | None = None,
    environ: Mapping[str, str] | None = None,
    files: Sequence[Path] = (),
) -> Loaded:
    """Put the settings together.

    flags: `section.name` → value as text or typed; None means "not given". sets: the same of `--set`, which wins.
    files: the strongest first; missing ones are skipped.
    Variables: DATAPLANE_<SECTION>_<FIELD>; those of no known section are left alone.

    Raises:
        ConfigFault: with every mistake, one a line.
    """
    declared = fields(sections)
    known = {f"{f.section}.{f.name}": f for f in declared}
    mistakes: list[str] = []
    layers: list[dict[str, tuple[object, str, bool]]] = [
        _from_flags(sets or {}, known, mistakes, "flag --set {key}"),
        _from_flags(flags or {}, known, mistakes, "flag --{name}"),
        _from_environment(os.environ if environ is None else environ, sections, known, mistakes),
        *(_from_file(path, sections, known, mistakes) for path in files),
    ]
    structs: dict[str, dict[str, object]] = {section: {} for section in sections}
    values: list[Value] = []
    for key, field in known.items():
        given = next((layer[key] for layer in layers if key in layer), None)
        value, origin = field.default, "default"
        if given is not None:
            raw, origin, text = given
            try:
                value = _checked(field, raw, text=text)
            except ValueError as error:
                mistakes.append(f"{origin}: {key}: {error}")
        structs[field.section][field.name] = value
        values.append(Value(field.section, field.name, value, origin, field.setting.secret))
    if mistakes:
        raise ConfigFault("\n".join(mistakes))
    return Loaded({name: sections[name](**given) for name, given in structs.items()}, tuple(values))


def _from_flags(
    flags: Mapping[str, object], known: Mapping[str, Field], mistakes: list[str], origin: str
) -> dict[str, tuple[object, str, bool]]:
    out: dict[str, tuple[object, str, bool]] = {}
    for key, value in flags.items():
        where = origin.format(key=key, name=key.partition(".")[2].replace("_", "-"))
        if key not in known:
            mistakes.append(f"{where}: {_unknown(key, known)}")
        elif value is not None:
            out[key] = (value, where, isinstance(value, str))
    return out


def _from_environment(
    environ: Mapping[str, str],
    sections: Mapping[str, type[msgspec.Struct]],
    known: Mapping[str, Field],
    mistakes: list[str],
) -> dict[str, tuple[object, str, bool]]:
    by_variable = {field.variable: key for key, field in known.items()}
    prefixes = tuple(f"{_PREFIX}{section.upper()}_" for section in sections)
    out: dict[str, tuple[object, str, bool]] = {}
    for variable, value in environ.items():
        if key := by_variable.get(variable):
            out[key] = (value, f"env {variable}", True)
        elif variable.startswith(prefixes):
            mistakes.append(f"env {variable}: {_unknown(variable, by_variable)}")
    return out


def _from_file(
    path: Path, sections: Mapping[str, type[msgspec.Struct]], known: Mapping[str, Field], mistakes: list[str]
) -> dict[str, tuple[object, str, bool]]:
    """`section: {field: value}`, YAML. Scalars of a YAML file are typed, so no text is converted to a number."""
    origin = f"file {path}"
    out: dict[str, tuple[object, str, bool]] = {}
    try:
        text = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return out
    except OSError as error:
        mistakes.append(f"{origin}: cannot be read: {error.strerror}")
        return out
    if len(text) > FILE_BYTES_MAX:
        mistakes.append(f"{origin}: {len(text)} bytes; at most {FILE_BYTES_MAX}")
        return out
    try:
        document = _yaml(text)
    except ValueError as error:
        mistakes.append(f"{origin}: {error}")
        return out
    if document is None:
        return out
    if not isinstance(document, dict):
        mistakes.append(f"{origin}: expected a mapping of sections ({', '.join(sections)})")
        return out
    for section, body in document.items():
        if section not in sections:
            mistakes.append(f"{origin}: {section}: {_unknown(str(section), sections)}")
        elif not isinstance(body, dict):
            mistakes.append(f"{origin}: {section}: expected a mapping of settings")
        else:
            for name, value in body.items():
                key = f"{section}.{name}"
                if key in known:
                    out[key] = (value, origin, False)
                else:
                    mistakes.append(f"{origin}: {key}: {_unknown(key, known)}")
    return out


def _yaml(text: bytes) -> object:
    import yaml  # lazily: most processes have no file, and the sidecar's import budget is 90 ms

    try:
        document: object = yaml.load(text, yaml.CSafeLoader)
    except yaml.YAMLError as error:
        raise ValueError(f"not YAML: {' '.join(str(error).split())}") from None
    return document


def _checked(field: Field, raw: object, *, text: bool) -> object:
    """The value as its declared type and within its bounds. Raises ValueError saying what would be right."""
    expected = _expected(field)
    type_: object = field.type
    if text and get_origin(type_) is tuple:
        raw = [part.strip() for part in str(raw).split(",") if part.strip()]
    if text and type_ is bool:
        raw = {"yes": True, "on": True, "no": False, "off": False}.get(str(raw).lower(), raw)
    try:
        value: object = msgspec.convert(raw, type_, strict=not text)
    except msgspec.ValidationError:
        shown = "***" if field.setting.secret else repr(raw)
        raise ValueError(f"{shown} is not {expected}") from None
    if isinstance(value, int | float) and not isinstance(value, bool):
        low, high = field.setting.min, field.setting.max
        # `not (low <= value)` also refuses NaN.
        if (low is not None and not value >= low) or (high is not None and not value <= high):
            raise ValueError(f"{value} is out of bounds; expected {expected}")
    return value


def _expected(field: Field) -> str:
    names: dict[object, str] = {float: "a number", int: "a whole number", bool: "true or false", str: "a text"}
    origin = get_origin(field.type)
    if origin is Literal:
        return "one of " + ", ".join(str(word) for word in get_args(field.type))
    if origin is tuple:
        return "a list"
    if origin in (typing.Union, types.UnionType):
        return " or ".join(names.get(one, "nothing") for one in get_args(field.type))
    words = names.get(field.type, field.type_name)
    if field.setting.unit:
        words += f" ({field.setting.unit})"
    low, high = field.setting.min, field.setting.max
    if low is not None and high is not None:
        return f"{words} from {_plain(low)} to {_plain(high)}"
    if low is not None:
        return f"{words}, at least {_plain(low)}"
    if high is not None:
        return f"{words}, at most {_plain(high)}"
    return words


def _unknown(key: str, known: Mapping[str, object]) -> str:
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    return f'unknown setting; did you mean "{near[0]}"?' if near else "unknown setting"


def _plain(number: float) -> str:
    return str(int(number)) if number == int(number) else str(number)


def _shown(value: object, secret: bool) -> str:
    if secret or isinstance(value, Redacted):
        return "***" if value else '""'
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return _plain(value)
    if isinstance(value, tuple):
        return ",".join(map(str, value)) or '""'
    return str(value) if value not in ("", None) else '""'
