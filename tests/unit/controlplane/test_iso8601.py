import pytest

from controlplane.iso8601 import duration_s


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("PT0.2S", 0.2),
        ("PT0S", 0),
        ("PT1M30S", 90),
        ("P1DT2H", 93600),
        ("P2W", 1209600),
        ("PT0,5S", 0.5),
        ("P1Y", 31556952),
        ("P1M", 2629746),
    ],
)
def test_seconds_of(text, seconds):
    assert duration_s(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", "P", "PT", "P1DT", "1S", "PT1", "pt1s", "PT1S ", "PT1H1H", "PT" + "9" * 400 + "S", "PT٣S"]
)
def test_is_no_duration(text):
    with pytest.raises(ValueError, match="ISO 8601"):
        duration_s(text)


def test_a_negative_one_is_told_so():
    with pytest.raises(ValueError, match="negative"):
        duration_s("-PT1S")
