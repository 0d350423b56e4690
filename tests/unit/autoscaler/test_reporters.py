"""Who is heard, who is missing, who is gone."""

from autoscaler.reporters import LOST_MAX, NAMES_PER_LINK_MAX, REMEMBER_S, SILENT_S, Reporters


def test_in_a_process_of_its_own_nobody_is_there_until_somebody_connects():
    reporters = Reporters(local=False)
    assert not reporters.anyone(0)
    reporters.opened(1, 0)
    assert reporters.anyone(SILENT_S)
    assert not reporters.anyone(SILENT_S + 0.1)


def test_in_the_same_process_somebody_is_always_there():
    assert Reporters(local=True).anyone(1e9)


def test_who_speaks_by_direct_call_is_always_heard():
    reporters = Reporters(local=False)
    reporters.here("gateway")
    assert reporters.status("gateway", 1e9) == "heard"
    assert reporters.anyone(1e9)


def test_a_link_that_breaks_leaves_its_reporters_missing():
    reporters = Reporters(local=False)
    reporters.opened(1, 0, ["pod-0"])
    assert reporters.status("pod-0", 1) == "heard"
    reporters.closed(1, 2, goodbye=False)
    assert reporters.missing_since("pod-0", 5) == 2


def test_a_link_that_is_quiet_leaves_its_reporters_missing_since_the_last_frame():
    reporters = Reporters(local=False)
    reporters.opened(1, 0)
    reporters.frame(1, 5, ["pod-0"])
    assert reporters.status("pod-0", 5 + SILENT_S) == "heard"
    assert reporters.missing_since("pod-0", 5.1 + SILENT_S) == 5


def test_goodbye_is_not_missing():
    reporters = Reporters(local=False)
    reporters.opened(1, 0, ["pod-0"])
    reporters.closed(1, 2, goodbye=True)
    assert reporters.status("pod-0", 2) == "gone"


def test_a_reporter_that_is_back_before_its_old_link_is_noticed_is_heard():
    reporters = Reporters(local=False)
    reporters.opened(1, 0, ["pod-0"])
    reporters.opened(2, 1, ["pod-0"])
    reporters.closed(1, 20, goodbye=False)
    reporters.frame(2, 20, [])
    assert reporters.status("pod-0", 20) == "heard"


def test_a_reporter_that_reconnects_is_not_lost_any_more():
    reporters = Reporters(local=False)
    reporters.opened(1, 0, ["pod-0"])
    reporters.closed(1, 1, goodbye=False)
    reporters.opened(2, 2, ["pod-0"])
    assert reporters.status("pod-0", 2) == "heard"


def test_one_link_speaks_for_a_few_names_only():
    reporters = Reporters(local=False)
    reporters.opened(1, 0, [f"name-{n}" for n in range(NAMES_PER_LINK_MAX)])
    assert not reporters.frame(1, 1, ["one-more"])
    assert reporters.frame(1, 1, ["name-0"])
    assert reporters.status("one-more", 1) == "gone"


def test_the_lost_are_forgotten_in_time_and_bounded_in_number():
    reporters = Reporters(local=False)
    for link in range(LOST_MAX + 10):
        reporters.opened(link, 0, [f"pod-{link}"])
        reporters.closed(link, 0, goodbye=False)
    assert reporters.status("pod-0", 0) == "gone"
    assert reporters.status("pod-10", 0) == "missing"
    reporters.opened(1, REMEMBER_S + 1, ["late"])
    reporters.closed(1, REMEMBER_S + 1, goodbye=False)
    assert reporters.status("pod-10", REMEMBER_S + 1) == "gone"
    assert reporters.status("late", REMEMBER_S + 1) == "missing"


def test_closing_twice_is_harmless():
    reporters = Reporters(local=False)
    reporters.opened(1, 0)
    reporters.closed(1, 0, goodbye=False)
    reporters.closed(1, 0, goodbye=False)
