import click
import pytest

from launch.options import seconds


@pytest.mark.parametrize(("text", "value"), [("30", 30), ("30s", 30), ("5m", 300), ("1h30m", 5400), ("250ms", 0.25)])
def test_durations(text: str, value: float) -> None:
    assert seconds(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "m", "5x", "-5s", "1..2s", "s5"])
def test_what_is_not_a_duration_says_so(text: str) -> None:
    with pytest.raises(click.BadParameter, match="duration such as 30s"):
        seconds(text)
