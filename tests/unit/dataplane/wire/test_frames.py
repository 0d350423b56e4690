"""Frame boundaries. Source: RFC 6455 §5.2."""

from hypothesis import given
from hypothesis import strategies as st

from dataplane.wire.frames import GOING_AWAY, Frames


def frame(payload: bytes, *, masked: bool = False, opcode: int = 2) -> bytes:
    size = len(payload)
    mark = 0x80 if masked else 0
    if size < 126:
        head = bytes((0x80 | opcode, mark | size))
    elif size < 1 << 16:
        head = bytes((0x80 | opcode, mark | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((0x80 | opcode, mark | 127)) + size.to_bytes(8, "big")
    return head + (b"mask" if masked else b"") + payload


@given(
    st.lists(st.tuples(st.sampled_from([0, 1, 125, 126, 127, 300, 65535, 65536]), st.booleans()), max_size=5),
    st.lists(st.integers(0, 1 << 18), max_size=6),
)
def test_boundaries_are_found_however_the_stream_is_cut(frames, cuts):
    stream, ends = b"", set()
    for size, masked in frames:
        stream += frame(b"x" * size, masked=masked)
        ends.add(len(stream))
    scanner, begin = Frames(), 0
    for end in sorted({*(cut % (len(stream) + 1) for cut in cuts), len(stream)}):
        found = scanner.feed(stream[begin:end])
        inside = [e for e in ends if begin < e <= end]
        assert found == (max(inside) - begin if inside else -1)
        assert scanner.between == (end in ends or end == 0)
        begin = end


def test_the_goodbye_is_one_whole_frame():
    scanner = Frames()
    assert scanner.feed(GOING_AWAY) == len(GOING_AWAY)
    assert scanner.between
