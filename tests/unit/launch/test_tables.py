import pytest

from launch.tables import age, aligned, bar, colourful, painted


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-5, "0s"),
        (0, "0s"),
        (45, "45s"),
        (119, "119s"),
        (120, "2m"),
        (200, "3m20s"),
        (720, "12m"),
        (3 * 3600 - 1, "179m"),
        (3 * 3600 + 300, "3h5m"),
        (8 * 3600, "8h"),
        (30 * 3600, "30h"),
        (5 * 86400 + 7200, "5d2h"),
        (40 * 86400, "40d"),
        (800 * 86400, "2y"),
    ],
)
def test_ages_are_kubectls(seconds: float, shown: str) -> None:
    assert age(seconds) == shown


def test_columns_are_as_wide_as_their_widest_cell_and_lines_end_without_blanks() -> None:
    assert aligned([("NAME", "URL"), ("hello-world", "")]) == ["NAME          URL", "hello-world"]


def test_a_share_that_is_not_nothing_shows() -> None:
    assert bar(0) == "░" * 10
    assert bar(1) == "█" + "░" * 9
    assert bar(100) == "█" * 10


def test_no_color_wins_over_force_color(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert colourful()
    monkeypatch.setenv("NO_COLOR", "1")
    assert not colourful()
    assert painted("x", "31", colour=False) == "x"
