"""Taking, beginning and releasing in any order: the counts are right, the bounds hold, nobody is forgotten."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from broker.window import NEVER, Window


class Item:
    def __init__(self, number, key, size_bytes, late=False):
        self.number, self.key, self.size_bytes, self.due, self.lane = number, key, size_bytes, 0.0, 0
        self.late = late

    def __lt__(self, other):
        return self.due < other.due


def window(
    *,
    ordered=False,
    in_flight_max=2,
    held_max=10,
    rate_per_s=0.0,
    bytes_max=10_000,
    event_bytes_max=1000,
    scheduled_max=1000,
):
    made = Window(
        ordered=ordered,
        lanes=4,
        bytes_max=bytes_max,
        event_bytes_max=event_bytes_max,
        scheduled_max=scheduled_max,
        now=0.0,
    )
    made.limit(in_flight_max=in_flight_max, held_max=held_max, rate_per_s=rate_per_s, now=0.0)
    return made


def test_room_is_by_count_and_by_the_largest_of_late():
    made = window(held_max=100)
    assert made.room(0.0) == 10
    for number in range(5):
        made.add(Item(number, "", 100), "")
    assert made.bytes == 500
    assert 10 < made.room(0.0) <= 95
    made.add(Item(9, "", 4000), "")
    assert made.room(0.0) == 1


def test_an_event_larger_than_all_room_goes_alone():
    made = window(bytes_max=10, event_bytes_max=100)
    assert made.room(0.0) == 1
    made.add(Item(1, "", 100), "")
    assert made.room(0.0) == 0


def test_who_loses_connections_has_less_on_its_way_and_all_of_it_when_it_loses_no_more():
    made = window(in_flight_max=100, held_max=100, bytes_max=10**9)
    for number in range(500):
        made.ended(lost=number % 5 == 0)
    assert 50 <= made.room(0.0) <= 60
    for _ in range(500):
        made.ended(lost=True)
    assert made.room(0.0) == 20
    for _ in range(500):
        made.ended(lost=False)
    assert made.room(0.0) == 100
    single = window(in_flight_max=1, held_max=1)
    single.ended(lost=True)
    assert single.room(0.0) == 1


def back(now=10.0, **more):
    """A window whose subscriber is back from an outage."""
    made = window(in_flight_max=1000, held_max=1000, bytes_max=10**9, **more)
    for i in range(30):
        made.ramp.failed(i / 10)
    assert made.ramp.succeeded(now, 0.01)
    return made


def test_after_an_outage_there_is_more_room_for_what_is_new():
    made = back()
    waited, new = made.room(10.0), made.fresh(10.0)
    assert 0 < waited < new
    for number in range(waited):
        made.add(Item(number, "", 1, late=True), "")
    assert made.room(10.0) == 0
    for _ in range(waited):
        assert made.begin(10.0) is not None
    assert made.begin(10.0) is None
    assert made.fresh(10.0) >= new / 2 - 1, "half is left to what is new"


def test_what_waited_leaves_to_what_is_new_what_is_left():
    made = back()
    new = made.fresh(10.0)
    for number in range(new - new // 3):
        made.add(Item(number, "", 1), "")
        assert made.begin(10.0) is not None
    assert made.room(10.0) == 0
    assert made.fresh(10.0) > 0


def test_what_is_new_overtakes_what_has_no_token():
    made = back()
    for number in range(100):
        made.add(Item(number, "", 1, late=True), "")
    made.add(Item("new", "", 1), "")
    assert made.begin(10.0).number == "new"
    while (item := made.begin(10.0)) is not None:
        assert item.late
    assert 10.0 < made.wake_at < 11.0
    assert made.waiting()


def test_an_ordered_window_knows_only_one_pace():
    made = back(ordered=True)
    for number in range(100):
        made.add(Item(number, str(number), 1, late=True), str(number))
    begun = 0
    while made.begin(10.0) is not None:
        begun += 1
    assert begun > 0


def test_with_too_many_scheduled_nothing_new_is_taken():
    made = window(scheduled_max=5, held_max=100)
    for _ in range(5):
        made.give_back(1.0)
    assert (made.room(0.0), made.fresh(0.0)) == (0, 0)
    assert (made.room(2.0), made.fresh(2.0)) == (5, 0)


def test_with_too_many_scheduled_it_says_when_the_next_of_them_is_due():
    made = window(scheduled_max=2, held_max=100)
    made.give_back(3.0)
    made.give_back(1.5)
    assert made.room(1.0) == 0
    assert made.wake_at == 1.5


def test_out_of_tokens_it_says_when_to_look_again():
    made = window(rate_per_s=10.0, in_flight_max=100)
    made.add(Item(1, "", 1), "")
    made.add(Item(2, "", 1), "")
    assert made.begin(0.0).number == 1
    assert made.begin(0.0) is None
    assert 0.0 < made.wake_at <= 0.1
    made.wake(0.1)
    assert made.wake_at == NEVER
    assert made.begin(0.1).number == 2


class AnyOrder(RuleBasedStateMachine):
    @initialize(ordered=st.booleans(), rate=st.sampled_from([0.0, 5.0]))
    def make(self, ordered, rate):
        self.now, self.number, self.ordered = 0.0, 0, ordered
        self.window = window(ordered=ordered, rate_per_s=rate)
        self.held, self.flying, self.sleeping, self.begun = [], [], [], []

    @rule(key=st.sampled_from("abcdef"), size=st.integers(1, 1000))
    def add(self, key, size):
        if self.window.room(self.now) > 0:
            self.number += 1
            item = Item(self.number, key, size)
            self.held.append(item)
            self.window.add(item, key)

    @rule()
    def begin(self):
        item = self.window.begin(self.now)
        if item is not None:
            assert item not in self.flying
            self.window.in_flight += 1
            self.flying.append(item)
            self.begun.append(item)
            if item in self.sleeping:
                assert item.due <= self.now
                self.sleeping.remove(item)

    @rule(pick=st.integers(0, 9), again=st.booleans())
    def end(self, pick, again):
        if self.flying:
            item = self.flying.pop(pick % len(self.flying))
            self.window.in_flight -= 1
            if again and self.ordered:
                item.due = self.now + 1.5
                self.window.sleep(item)
                self.sleeping.append(item)
            else:
                self.held.remove(item)
                self.window.release(item)

    @rule(rest=st.integers(0, 3))
    def drop(self, rest):
        waiting = [item for item in self.held if item not in self.flying]
        gone = self.window.drop(lambda item: item.number % 4 != rest)
        assert set(gone) == {item for item in waiting if item.number % 4 == rest}
        self.held = [item for item in self.held if item not in gone]
        self.sleeping = [item for item in self.sleeping if item not in gone]

    @rule(seconds=st.floats(0.01, 3.0))
    def time(self, seconds):
        self.now += seconds
        if self.window.wake_at <= self.now:
            self.window.wake(self.now)

    @invariant()
    def counts(self):
        if not hasattr(self, "window"):
            return
        assert self.window.count == len(self.held) <= 10
        assert self.window.bytes == sum(item.size_bytes for item in self.held)
        assert len(self.flying) <= 2
        if self.ordered:
            lanes = [item.lane for item in [*self.flying, *self.sleeping]]
            assert len(lanes) == len(set(lanes)), "two of one lane"
        if self.sleeping:
            assert self.window.wake_at <= min(i.due for i in self.sleeping) or any(
                i.due <= self.now for i in self.sleeping
            )

    def teardown(self):
        if not hasattr(self, "window"):
            return
        for _ in range(10_000):
            if not self.held:
                break
            self.begin()
            self.end(0, False)
            self.time(0.5)
        assert not self.held, "somebody was forgotten"
        for key in "abcdef":
            firsts = list(dict.fromkeys(i.number for i in self.begun if i.key == key))
            assert not self.ordered or firsts == sorted(firsts)


TestAnyOrder = AnyOrder.TestCase
