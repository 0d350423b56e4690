"""JSON lines in any cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.drivers.nursery import frames

VALUES = st.text() | st.integers() | st.lists(st.text(), max_size=3) | st.dictionaries(st.text(), st.text(), max_size=3)


@given(st.lists(st.dictionaries(st.text(), VALUES, max_size=4), max_size=6), st.lists(st.integers(0, 400), max_size=8))
def test_any_cut_of_the_stream_gives_the_same_frames(sent, cuts):
    stream = b"".join(map(frames.encode, sent))
    edges = [0, *sorted(min(c, len(stream)) for c in cuts), len(stream)]
    lines = frames.Lines()
    got = [f for a, b in zip(edges, edges[1:], strict=False) for f in lines.feed(stream[a:b])]
    assert got == sent


def test_a_lone_surrogate_survives():
    value = {"env": b"\xff\xfe".decode("utf-8", "surrogateescape")}
    assert frames.Lines().feed(frames.encode(value)) == [value]


def test_a_frame_over_the_limit_is_refused_on_both_sides(monkeypatch):
    monkeypatch.setattr(frames, "LINE_MAX_BYTES", 100)
    with pytest.raises(ValueError, match="over the limit"):
        frames.encode({"a": "x" * 100})
    lines = frames.Lines()
    with pytest.raises(ValueError, match="over the limit"):
        lines.feed(b"x" * 101)


@pytest.mark.parametrize("line", [b"[]\n", b"1\n", b"{\n", b"\xff\n"])
def test_what_is_no_object_is_refused(line):
    with pytest.raises(ValueError):
        frames.Lines().feed(line)
