from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from broker.matching import Index
from dataplane.policy.filters import compile_filters
from dataplane.wire.cloudevents import Event

_VALUES = st.sampled_from(["a", "b", "ab"])
_NAMES = st.sampled_from(["type", "source", "subject"])
_LEAVES = st.one_of(
    st.builds(lambda d, n, v: {d: {n: v}}, st.sampled_from(["exact", "prefix", "suffix"]), _NAMES, _VALUES),
    st.builds(lambda t, s: {"exact": {"type": t, "source": s}}, _VALUES, _VALUES),
    st.builds(
        lambda n, v, o: {"cesql": f"{n} = '{v}' {o} EXISTS subject"},
        _NAMES,
        _VALUES,
        st.sampled_from(["AND", "OR", "XOR"]),
    ),
)
_FILTERS = st.recursive(
    _LEAVES,
    lambda inner: st.one_of(
        st.builds(lambda d, many: {d: many}, st.sampled_from(["all", "any"]), st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda one: {"not": one}, inner),
    ),
    max_leaves=6,
)
_EVENTS = st.builds(
    lambda type_, source, subject: Event(
        attributes={"type": type_, "source": source} | ({"subject": subject} if subject else {})
    ),
    _VALUES,
    _VALUES,
    st.sampled_from(["", "a", "b"]),
)


@given(triggers=st.lists(st.lists(_FILTERS, max_size=3), max_size=8), event=_EVENTS)
def test_finds_what_asking_everybody_finds(triggers, event):
    index: Index[int] = Index()
    filters = [compile_filters(each) for each in triggers]
    for number, each in enumerate(filters):
        index.add(str(number), each, number)
    assert sorted(index.match(event)) == [number for number, each in enumerate(filters) if each.matches(event)]


class Registrations(RuleBasedStateMachine):
    """Whatever was added, replaced and removed, in any order."""

    def __init__(self):
        super().__init__()
        self.index: Index[str] = Index()
        self.stands: dict = {}

    @rule(key=st.sampled_from("xyz"), filters=st.lists(_FILTERS, max_size=2))
    def add(self, key, filters):
        self.stands[key] = compile_filters(filters)
        self.index.add(key, self.stands[key], key)

    @rule(key=st.sampled_from("xyz"))
    def remove(self, key):
        self.stands.pop(key, None)
        self.index.remove(key)

    @rule(event=_EVENTS)
    def match(self, event):
        assert sorted(self.index.match(event)) == sorted(k for k, f in self.stands.items() if f.matches(event))

    @invariant()
    def counts(self):
        assert len(self.index) == len(self.stands)

    def teardown(self):
        for key in list(self.stands):
            self.remove(key)
        assert not (self.index._by_type or self.index._by_source or self.index._others)  # nothing is kept


TestRegistrations = Registrations.TestCase


def test_an_event_without_type_or_source_is_asked_of_the_rest_only():
    index: Index[int] = Index()
    index.add("a", compile_filters([{"exact": {"type": "a"}}]), 1)
    index.add("b", compile_filters([]), 2)
    assert index.match(Event(attributes={"id": "1"})) == [2]


class Broken:
    interest = None

    def matches(self, event):
        raise ValueError("of an event")


def test_a_filter_that_fails_costs_nobody_else_the_event():
    index = Index()
    index.add("before", compile_filters([]), "before")
    index.add("broken", Broken(), "broken")
    index.add("behind", compile_filters([]), "behind")
    event = Event(attributes={"type": "a", "source": "a"})
    assert sorted(index.match(event)) == ["before", "behind"]
