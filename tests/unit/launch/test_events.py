from launch.commands.events import ANSWER_MAX, _why


def _letter(answer: str) -> dict[str, object]:
    return {"code": 502, "reason": "reply", "message": "", "dest": "http://s", "answer": answer}


def test_why_a_letter_was_given_up_is_one_short_line_whatever_was_answered() -> None:
    assert _why(_letter("no\n\tthanks")) == "reply: HTTP 502 http://s: no thanks"
    long = _why(_letter("y" * 5000))
    assert long.endswith("y…") and len(long) < ANSWER_MAX + 40
