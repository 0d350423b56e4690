"""What a commit says is what a new owner goes on with: what was open, what was passed over, at which attempt."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.store.contract import PASSED_MAX
from broker.store.kafka.commit import FIRST, METADATA_CHARS_MAX, RANGES_MAX, Commit, Noted, Try, decode, encode, uid_of
from broker.store.progress import Progress

edges = st.lists(st.integers(0, 2000), unique=True, max_size=2 * PASSED_MAX).map(sorted)


@st.composite
def progresses(draw: st.DrawFn) -> Progress:
    """Anything that reading, passing over and settling may leave behind."""
    found = draw(edges)
    base = draw(st.sampled_from([0, 10**6, 2**40]))
    progress = Progress(base + max(found, default=0) + draw(st.integers(0, 50)))
    progress.gaps = [(base + a, base + b) for a, b in zip(found[::2], found[1::2], strict=False)]
    for offset in draw(st.sets(st.integers(0, 2100))):
        if not inside(progress.gaps, base + offset):
            progress.open[base + offset] = 1.0
    return progress


def inside(gaps: list[tuple[int, int]], offset: int) -> bool:
    return any(begin <= offset < end for begin, end in gaps)


@given(progresses(), st.data())
def test_a_commit_says_what_is_open_and_what_was_passed_over(progress: Progress, data: st.DataObject) -> None:
    below = sorted(offset for offset in progress.open if offset < progress.next)
    tries = data.draw(
        st.dictionaries(st.sampled_from(below), st.builds(Try, st.integers(2, 300), st.just(1000.5)), max_size=20)
        if below
        else st.just({})
    )
    commit = encode(progress, tries, "uid", "writer")
    assert commit.offset == progress.low
    assert uid_of(commit.metadata) == "uid"
    assert decode(commit) == Noted(progress.next, {offset: tries.get(offset, FIRST) for offset in below}, progress.gaps)


@given(progresses(), st.integers(1, 40))
def test_what_does_not_fit_comes_again_and_nothing_is_forgotten(progress: Progress, spread: int) -> None:
    base = progress.low
    for i in range(8000):
        offset = base + i * spread
        if not inside(progress.gaps, offset):
            progress.open[offset] = 1.0
    tries = {offset: Try(2, 1e9) for offset in progress.open}
    progress.next = max(progress.next, base + 8000 * spread)
    commit = encode(progress, tries, "uid-" + "x" * 40, "writer")
    assert len(commit.metadata) <= METADATA_CHARS_MAX
    noted = decode(commit)
    assert noted is not None
    assert len(noted.gaps) <= RANGES_MAX
    assert all(begin < end for begin, end in noted.gaps)
    assert all(one[1] <= two[0] for one, two in zip(noted.gaps, noted.gaps[1:], strict=False))
    for offset in progress.open:
        assert offset >= noted.next or offset in noted.holes or inside(noted.gaps, offset)
    for begin, end in progress.gaps:
        for offset in (begin, end - 1):
            assert offset >= noted.next or inside(noted.gaps, offset)


def test_what_is_new_and_settled_stays_so_when_the_old_ones_do_not_fit() -> None:
    """Thousands of redeliveries wait after an outage: a crash must not repeat what came since."""
    progress = Progress(0)
    for offset in range(10_000):
        progress.take(offset)
    progress.leap(50_000)
    progress.next = 90_000
    progress.open[80_000] = 1.0
    noted = decode(encode(progress, {offset: Try(3, 1e9) for offset in range(10_000)}, "uid", "writer"))
    assert noted is not None
    assert noted.next == 90_000
    left = [gap for gap in noted.gaps if gap[0] < 10_000]
    assert left == [(len(noted.holes), 10_000)]
    assert noted.gaps[-2:] == [(10_000, 50_000), (80_000, 80_001)]


def test_too_many_ranges_are_joined_where_the_least_comes_again() -> None:
    progress = Progress(0)
    for i in range(RANGES_MAX):
        progress.take(progress.next)
        progress.leap(progress.next + 10)
    for offset in range(progress.next, progress.next + 3000, 2):
        progress.open[offset] = 1.0
    progress.next += 3000
    noted = decode(encode(progress, dict.fromkeys(progress.open, Try(2, 1e9)), "uid", "writer"))
    assert noted is not None
    assert len(noted.gaps) == RANGES_MAX
    assert noted.next == progress.next


def test_without_ranges_a_commit_is_what_it_was_before_there_were_any() -> None:
    progress = Progress(10)
    assert encode(progress, {}, "uid", "writer").metadata.startswith("1 uid writer ")
    progress.leap(20)
    assert encode(progress, {}, "uid", "writer").metadata.startswith("2 uid writer ")
    assert decode(Commit(7, "1 u w AwI=")) == Noted(10, {8: FIRST}, [])


@pytest.mark.parametrize("metadata", ["", "by hand", "1 u w !!!", "1 u w gICA", "2 u w AAE=", "3 u w AA=="])
def test_what_is_not_ours_says_nothing(metadata: str) -> None:
    assert decode(Commit(7, metadata)) is None
