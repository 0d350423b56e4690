"""The CESQL technology compatibility kit of the CloudEvents specification, every case."""

from pathlib import Path

import pytest
import yaml

from dataplane.policy.cesql.compile import compile_expression
from dataplane.policy.cesql.lex import ParseFault
from dataplane.wire.cloudevents import Event

KIT = Path(__file__).parents[4] / "shared" / "data" / "cesql_tck"

# The kit contradicts the specification here: "Integer to Boolean: 0 is false, everything else true" is a mandatory cast,
# and casting_functions.yaml itself expects BOOL(100) to be true. Knative's engine says (false, no error) too.
CONTRADICTS_THE_SPECIFICATION = {("not_operator.yaml", "Invalid int cast"): (False, None)}


class _Loader(yaml.SafeLoader):
    """Expressions stay the text they are (`TRUE`, `-10`), timestamps too."""

    def construct_mapping(self, node, deep=False):
        made = super().construct_mapping(node, deep)
        for key, value in node.value:
            if key.value == "expression":
                made["expression"] = value.value
        return made


_Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _cases():
    for path in sorted(KIT.glob("*.yaml")):
        for case in yaml.load(path.read_text(), _Loader)["tests"]:
            yield pytest.param(path.name, case, id=f"{path.stem}: {case['name']}")


CASES = list(_cases())


def _event(case: dict) -> Event:
    given = case.get("event") or {
        "specversion": "1.0",
        "id": "myId",
        "source": "localhost.localdomain",
        "type": "myType",
        **case.get("eventOverrides", {}),
    }
    typed = {name: value for name, value in given.items() if not isinstance(value, str)}
    text = {name: value if isinstance(value, str) else str(value).lower() for name, value in given.items()}
    return Event(attributes=text, typed=typed)


@pytest.mark.skipif(not CASES, reason=f"no kit at {KIT}: the tck/ folder of CESQL in github.com/cloudevents/spec")
@pytest.mark.parametrize(("file", "case"), CASES)
def test_case_of_the_kit(file, case):
    if case.get("error") == "parse":
        with pytest.raises(ParseFault):
            compile_expression(case["expression"])
        return
    expression = compile_expression(case["expression"])
    result = expression.evaluate(_event(case))
    wanted = CONTRADICTS_THE_SPECIFICATION.get((file, case["name"]), (case["result"], case.get("error")))
    assert (result.value, result.error and result.error.kind) == wanted
    assert type(result.value) is type(wanted[0])
    assert expression.matches(_event(case)) is (wanted[0] is True and wanted[1] is None)


@pytest.mark.skipif(not CASES, reason=f"no kit at {KIT}")
def test_the_whole_kit_is_there():
    assert len(CASES) == 275
    assert sum((case.values[0], case.values[1]["name"]) in CONTRADICTS_THE_SPECIFICATION for case in CASES) == 1
