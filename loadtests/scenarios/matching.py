"""What does finding an event's triggers cost, with a thousand of them, and what does each kind of filter? (E1)"""

import statistics
import sys
import time
from collections.abc import Callable

from harness import HERE, Bench, spread, verdict

sys.path.insert(0, str(HERE.parent))

EVENTS = 20_000
TRIGGERS = 1000


def what_does_matching_cost(bench: Bench) -> None:
    """E1: the index over 1 000 exact types, the same asked one by one, and one filter of each dialect."""
    from broker.matching import Index
    from dataplane.policy.filters import compile_filters
    from dataplane.wire.cloudevents import Event

    data = (
        b'{"total": 120, "customer": {"vip": true}, "items": [{"sku": "A-1", "n": 2}], "note": "' + b"x" * 900 + b'"}'
    )
    events = [
        Event(
            attributes={
                "specversion": "1.0",
                "id": str(number),
                "source": "https://shop.example/orders",
                "type": f"com.shop.event.{number % TRIGGERS}",
                "subject": "42",
                "datacontenttype": "application/json",
            },
            data=data,
        )
        for number in range(EVENTS)
    ]
    filters = [compile_filters([{"exact": {"type": f"com.shop.event.{number}"}}]) for number in range(TRIGGERS)]
    index: Index[int] = Index()
    for number, each in enumerate(filters):
        index.add(str(number), each, number)

    def indexed() -> None:
        for event in events:
            assert index.match(event)

    def one_by_one() -> None:
        for event in events[:200]:
            assert any([each.matches(event) for each in filters])

    per_event = _us(bench, "1 000 exact types, index", indexed, EVENTS)
    _us(bench, "1 000 exact types, asked one by one", one_by_one, 200)
    for name, filter_ in {
        "exact": {"exact": {"type": "com.shop.event.1"}},
        "prefix": {"prefix": {"type": "com.shop."}},
        "any of three": {"any": [{"exact": {"subject": s}} for s in ("a", "b", "42")]},
        "cesql": {"cesql": "type LIKE 'com.shop.%' AND subject = '42'"},
        "jsonpath": {"jsonpath": "$.total >= 100"},
        "cel": {"cel": "data.total >= 100 && event.subject == '42'"},
    }.items():
        matches = compile_filters([filter_]).matches

        def ask(matches: Callable[[Event], bool] = matches) -> None:
            for event in events:
                matches(event)

        _us(bench, f"one filter: {name}", ask, EVENTS)
    verdict("E1 matching among 1 000 triggers", per_event, 20, "µs per event")


def _us(bench: Bench, subject: str, run: Callable[[], None], events: int) -> float:
    costs = []
    for _ in range(bench.rounds):
        began = time.process_time()
        run()
        costs.append((time.process_time() - began) / events * 1e6)
    bench.record("E1", subject, events=events, cpu_us=spread(costs))
    median = statistics.median(costs)
    print(f"  {subject:40} {median:8.2f} µs per event", flush=True)
    return median
