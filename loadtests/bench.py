"""Runs the benchmarks by number or all of them, prints what they found, appends the figures to results/<machine>.jsonl.

P1 cost of a request · P2 its latency · P3 two workers · P4 idle connections · P5 a big snapshot · P6 cold start ·
P7 5 000 at once · P9 an event · P10 a thousand triggers · P11 on Redis and Kafka · M a mass apply · D the numbers of
docs/decisions · E0 events as bytes · E1 matching · E2 accepting events · E3 delivering them · E4 beside a slow
subscriber · E5 a dead one · E6 fan-out · E7 after an outage · ES stores of one machine · EF their files · EB a
backlog. A target that is missed is printed, not raised: figures are read by people, beside their noise.
"""

import argparse
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from harness import Bench, Failed, machine
from scenarios.after_outage import does_what_is_new_wait_after_an_outage
from scenarios.big_snapshot import what_do_ten_thousand_routes_cost
from scenarios.choices import what_do_our_choices_cost
from scenarios.codec import what_does_an_event_cost_as_bytes
from scenarios.dead_subscriber import does_a_dead_subscriber_cost_memory
from scenarios.event_deliver import what_does_a_delivery_cost
from scenarios.event_fanout import what_does_fan_out_cost
from scenarios.event_files import what_do_a_stores_files_cost
from scenarios.event_ingest import what_does_it_cost_to_accept_an_event
from scenarios.event_path import (
    what_do_a_thousand_triggers_cost,
    what_does_an_event_cost,
    what_does_an_event_cost_on_servers,
)
from scenarios.event_store import how_long_does_a_backlog_hold_up_a_start, what_does_an_event_cost_its_store
from scenarios.event_store_kafka import what_does_an_event_cost_on_kafka
from scenarios.event_store_redis import what_does_an_event_cost_on_redis
from scenarios.idle_connections import what_does_an_idle_connection_weigh
from scenarios.mass_apply import does_a_mass_apply_hold_up_requests
from scenarios.matching import what_does_matching_cost
from scenarios.scale_from_zero import what_does_a_cold_start_add
from scenarios.slow_subscriber import does_a_slow_subscriber_delay_others
from scenarios.stampede import does_everyone_get_an_answer_in_order
from scenarios.steady_path import how_long_does_a_request_take, what_does_a_request_cost
from scenarios.workers import what_do_two_workers_cost

SCENARIOS: dict[str, Callable[[Bench], None]] = {
    "P1": what_does_a_request_cost,
    "P2": how_long_does_a_request_take,
    "P3": what_do_two_workers_cost,
    "P4": what_does_an_idle_connection_weigh,
    "P5": what_do_ten_thousand_routes_cost,
    "P6": what_does_a_cold_start_add,
    "P7": does_everyone_get_an_answer_in_order,
    "P9": what_does_an_event_cost,
    "P10": what_do_a_thousand_triggers_cost,
    "P11": what_does_an_event_cost_on_servers,
    "M": does_a_mass_apply_hold_up_requests,
    "D": what_do_our_choices_cost,
    "E0": what_does_an_event_cost_as_bytes,
    "E1": what_does_matching_cost,
    "E2": what_does_it_cost_to_accept_an_event,
    "E3": what_does_a_delivery_cost,
    "E4": does_a_slow_subscriber_delay_others,
    "E5": does_a_dead_subscriber_cost_memory,
    "E6": what_does_fan_out_cost,
    "E7": does_what_is_new_wait_after_an_outage,
    "EK": what_does_an_event_cost_on_kafka,
    "ER": what_does_an_event_cost_on_redis,
    "ES": what_does_an_event_cost_its_store,
    "EF": what_do_a_stores_files_cost,
    "EB": how_long_does_a_backlog_hold_up_a_start,
}
NEEDED = {"wrk": "apt-get install wrk", "nginx": "apt-get install nginx"}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "scenarios", nargs="*", metavar="P1…P11, M, D, E0…E7, EK, ER, ES, EF, EB", default=list(SCENARIOS)
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4, help="of load per subject and round")
    parser.add_argument("--dry", action="store_true", help="do not append to the results")
    chosen = parser.parse_args()
    unknown = [name for name in chosen.scenarios if name not in SCENARIOS]
    if unknown:
        parser.error(f"no such benchmark: {', '.join(unknown)}; there are {', '.join(SCENARIOS)}")
    missing = [f"{tool} ({how})" for tool, how in NEEDED.items() if not shutil.which(tool, path="/usr/bin:/usr/sbin")]
    if missing:
        print(f"missing: {', '.join(missing)}", file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that `with` still ends every process
    print(" ".join(f"{key}={value}" for key, value in machine().items()))
    failed = 0
    for name in chosen.scenarios:
        scenario = SCENARIOS[name]
        print(f"\n{name} {scenario.__name__.replace('_', ' ')}?", flush=True)
        with Bench(rounds=chosen.rounds, seconds=chosen.seconds) as bench:
            try:
                scenario(bench)
            except Failed as failure:
                failed += 1
                print(f"  FAILED {failure}", file=sys.stderr)
            if bench.rows and not chosen.dry:
                print(f"  → {bench.save().name}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
