"""examples/events does what its README says, with kubectl as the client."""

import subprocess
import sys

from tests.e2e.conftest import EXAMPLES, Up


def dataplane(up: Up, *arguments: str) -> str:
    run = subprocess.run(
        [sys.executable, "-m", "launch", *arguments, "--data", str(up.data)], capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def test_an_order_wakes_billing_and_its_invoice_is_booked(start):
    up = start(images=EXAMPLES / "events" / "images.yaml")
    up.apply("events/orders.yaml")
    up.ready("broker/default", "trigger/bill", "trigger/book", "ksvc/billing", "ksvc/books")
    assert "accepted" in dataplane(
        up, "send", "broker/default", "--type", "dev.example.order", "--subject", "42", "--data", '{"total":12}'
    )
    books = up.eventually(
        lambda: (out := dataplane(up, "logs", "ksvc/books")).count("booked") >= 2 and out,
        "order and invoice are booked",
    )
    assert '{"total":12}' in str(books)
    assert '{"order": "42", "due": 14.4}' in str(books)


def test_an_order_that_billing_refuses_is_parked_and_can_be_driven_again(start):
    up = start(images=EXAMPLES / "events" / "images.yaml")
    up.apply("events/orders.yaml")
    up.ready("broker/default", "trigger/bill", "ksvc/billing")
    dataplane(up, "send", "broker/default", "--type", "dev.example.order", "--id", "bad-1", "--data", "{}")
    parked = up.eventually(
        lambda: (out := dataplane(up, "events", "parked", "trigger/bill")) and "bad-1" in out and out, "it is parked"
    )
    assert "an order has a total" in str(parked)
    assert "400" in str(parked)
    assert dataplane(up, "events", "redrive", "trigger/bill") == "1 redriven\n"
    up.eventually(
        lambda: dataplane(up, "events", "trace", "broker/default", "bad-1").count("code=400") >= 2, "it was tried again"
    )
