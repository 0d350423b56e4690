"""What others wrote into the kept topic is no note of ours, and stops nobody who reads it."""

from types import SimpleNamespace

import pytest

from broker.store.kafka.kept import HEADER, _note


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"state":"\xff"}', b'{"state":"\xed\xa0\x80"}', b"\xff"])
def test_a_header_that_is_no_note_is_none(content: bytes) -> None:
    assert _note(SimpleNamespace(headers=[("other", b""), (HEADER, content)], offset=7)) is None
