from typing import Any

from launch.progress import judged


def _state(*conditions: dict[str, str], generation: int = 1, observed: int = 1) -> dict[str, Any]:
    return {
        "metadata": {"generation": generation},
        "status": {"observedGeneration": observed, "conditions": list(conditions)},
    }


def _condition(type_: str, status: str, reason: str = "", message: str = "") -> dict[str, str]:
    return {"type": type_, "status": status, "reason": reason, "message": message}


def test_ready_counts_only_for_the_latest_generation() -> None:
    ready = _condition("Ready", "True")
    assert judged(_state(ready)) == ("ready", "")
    assert judged(_state(ready, generation=2))[0] == "waiting"


def test_failed_says_the_message_or_at_least_the_reason() -> None:
    assert judged(_state(_condition("Ready", "False", "RevisionMissing", "gone"))) == ("failed", "gone")
    assert judged(_state(_condition("Ready", "False", "RevisionMissing"))) == ("failed", "RevisionMissing")


def test_while_waiting_it_says_who_still_works() -> None:
    ready = _condition("Ready", "Unknown")
    configured = _condition("ConfigurationsReady", "True")
    assert "The Configuration is still working" in judged(_state(ready))[1]
    assert "The Route is still working" in judged(_state(ready, configured))[1]
    assert judged(_state(ready, _condition("RoutesReady", "Unknown", "", "Waiting for X")))[1] == "Waiting for X"
