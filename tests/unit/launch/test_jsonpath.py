import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch.jsonpath import render

LIST = {
    "kind": "List",
    "items": [
        {
            "metadata": {"name": "a", "labels": {"serving.knative.dev/service": "hello"}},
            "status": {
                "url": "http://a",
                "replicas": 1,
                "conditions": [{"type": "Ready", "status": "True"}, {"type": "Routes", "status": "False"}],
            },
        },
        {"metadata": {"name": "b"}, "status": {"replicas": 3, "conditions": [{"type": "Ready", "status": "False"}]}},
    ],
}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{.items[0].metadata.name}", "a"),
        (".items[0].metadata.name", "a"),
        ("items[0].metadata.name", "a"),
        ("{.items[*].metadata.name}", "a b"),
        ("{.items[-1].metadata.name}", "b"),
        ("{.items[0:2].metadata.name}", "a b"),
        ("{.items[0,1].metadata.name}", "a b"),
        ("{.items[0].metadata.labels.serving\\.knative\\.dev/service}", "hello"),
        ("{.items[0].metadata.labels['serving\\.knative\\.dev/service']}", "hello"),
        ('{.items[0].metadata.labels["serving.knative.dev/service"]}', "hello"),
        ('{.items[0].status.conditions[?(@.type=="Ready")].status}', "True"),
        ("{.items[?(@.metadata.name=='b')].status.replicas}", "3"),
        ("{.items[?(@.status.replicas>1)].metadata.name}", "b"),
        ("{.items[?(@.status.url)].metadata.name}", "a"),
        ('{range .items[*]}{.metadata.name}{"\\t"}{.status.replicas}{"\\n"}{end}', "a\t1\nb\t3\n"),
        ("{range .items[*]}[{range .status.conditions[*]}{.type} {end}]{end}", "[Ready Routes ][Ready ]"),
        ("name={.items[0].metadata.name};", "name=a;"),
        ("{..name}", "a b"),
        ("{.items[0].nothing.here}", ""),
        ("{.kind}", "List"),
        ("{$.kind}", "List"),
        ("{.items[1].metadata}", '{"name":"b"}'),
        ("{range .items[*]}{$.kind}{end}", "ListList"),
    ],
)
def test_a_template_renders_as_kubectl_renders_it(template: str, text: str) -> None:
    assert render(template, LIST) == text


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{.items", "unclosed"),
        ("{range .items[*]}x", "without {end}"),
        ("{end}", "without {range}"),
        ("{.items[?(@.x==abc)]}", "texts need quotes"),
        ("{items}", "begins with a dot"),
        ("{.a[}", "cannot read"),
    ],
)
def test_a_template_that_cannot_be_read_says_why(template: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        render(template, LIST)


@given(st.text(alphabet="{}[].*?@()='\"\\$:,ab01 rangeend", max_size=60))
def test_no_template_raises_anything_but_value_error(template: str) -> None:
    try:
        render(template, LIST)
    except ValueError:
        pass
