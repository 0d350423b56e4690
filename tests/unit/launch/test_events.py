import pytest

from launch.cli import main
from launch.commands.events import ANSWER_MAX, PREFIX, _counted, _path, _told, _why


def _letter(answer: str) -> dict[str, object]:
    return {"code": 502, "reason": "reply", "message": "", "dest": "http://s", "answer": answer}


def test_why_a_letter_was_given_up_is_one_short_line_whatever_was_answered() -> None:
    assert _why(_letter("no\n\tthanks")) == "reply: HTTP 502 http://s: no thanks"
    long = _why(_letter("y" * 5000))
    assert long.endswith("y…") and len(long) < ANSWER_MAX + 40


def test_an_answer_that_was_only_a_status_is_said_once() -> None:
    letter = _letter("an order has a total") | {"code": 400, "reason": "rejected", "message": "answered 400"}
    assert _why(letter) == "rejected: HTTP 400: an order has a total"


@pytest.mark.parametrize("word", ["broker/", "trigger/a/b", "/a", "", "broker/a"])
def test_what_names_no_trigger_is_told_how_one_is_named(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["events", "parked", word]) == 2
    assert "expected trigger/NAME" in capsys.readouterr().err


def test_names_are_no_part_of_a_path() -> None:
    assert _path("triggers", "a?b", "n/s", "letters") == f"{PREFIX}/triggers/n%2Fs/a%3Fb/letters"


@pytest.mark.parametrize("given", ["-1", "0", "x", "99999999999999"])
def test_following_ends_after_a_time_that_there_is(given: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["events", "tail", "broker/default", "--for", given]) == 2
    assert "--for" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["http://127.0.0.1:abc/"], "the port must be a number"),
        (["http:///a"], "a host is missing"),
        (["ftp://h/a"], "ftp://h/a: expected broker/NAME, http://… or https://…"),
        (["http://127.0.0.1:9/", "--content-type", "a\nb"], "expected a media type"),
        (["http://127.0.0.1:9/", "--timeout", "0"], "longer than nothing"),
        (["http://127.0.0.1:9/", "--data", "@missing"], "missing: No such file"),
    ],
)
def test_what_cannot_be_sent_is_said_before_it_is_tried(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["send", "--type", "a", *arguments]) == 2
    assert told in capsys.readouterr().err


def test_letters_that_are_not_there_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    assert _counted(3, (), "redriven") == 0
    assert _counted(1, ("1", "x"), "redriven") == 1
    told = capsys.readouterr()
    assert told.out == "3 redriven\n1 redriven\n"
    assert told.err.startswith("1 of those named are not there")


def test_what_was_answered_or_sent_does_not_steer_the_terminal() -> None:
    assert (
        _why(_letter("\x1b]0;title\x07 \x9b31m\u202e"))
        == "reply: HTTP 502 http://s: \ufffd]0;title\ufffd \ufffd31m\ufffd"
    )
    fact = {
        "at": "2026-01-31T00:00:00.000Z",
        "what": "parked",
        "id": "a\u202eb",
        "type": "t",
        "duration_s": 0,
        "message": "\x1b[2J",
    }
    told = _told({**fact, "trigger": "", "position": "", "attempt": 0, "code": 0})
    assert told == "00:00:00.000 parked        id=a\ufffdb type=t \ufffd[2J"
