"""The normal form of a target. Source: RFC 3986 §5.2.4, §6.2.2; reliability.md GW-19."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataplane.errors import BadRequest
from dataplane.wire.target import normal_target


@pytest.mark.parametrize(
    ("target", "normal"),
    [
        (b"/", b"/"),
        (b"/a/b", b"/a/b"),
        (b"/%41%7e%2d", b"/A~-"),
        (b"/a%2fb", b"/a%2Fb"),
        (b"/a%2Fb%c3%a9", b"/a%2Fb%C3%A9"),
        (b"/a/./b", b"/a/b"),
        (b"/a/../b", b"/b"),
        (b"/a/%2e%2E/b", b"/b"),
        (b"/../../b", b"/b"),
        (b"/a/..", b"/"),
        (b"/a/b/..", b"/a/"),
        (b"/a/.", b"/a/"),
        (b"/..", b"/"),
        (b"//a//b", b"//a//b"),
        (b"/a//../b", b"/a/b"),
        (b"/.well-known/x", b"/.well-known/x"),
        (b"/...", b"/..."),
        (b"/a?b=%zz&c=/../%2f", b"/a?b=%zz&c=/../%2f"),
        (b"/%252e%252e/a", b"/%252e%252e/a"),
        (b"/a/b/c/./../../g", b"/a/g"),
    ],
)
def test_GW_19_one_form(target, normal):
    assert normal_target(target) == normal


@pytest.mark.parametrize("target", [b"/%", b"/%4", b"/%zz", b"/a%0", b"/%00", b"/a%2", b"/%u0041"])
def test_GW_19_an_escape_that_is_none_or_of_NUL_is_refused(target):
    with pytest.raises(BadRequest):
        normal_target(target)


@given(st.text("/.%2eEfF4a?", max_size=20).map(lambda text: b"/" + text.encode()))
def test_the_normal_form_of_a_normal_form_is_itself(target):
    try:
        once = normal_target(target)
    except BadRequest:
        return
    assert normal_target(once) == once
    assert once.startswith(b"/")
    assert not {b".", b".."} & set(once.partition(b"?")[0].split(b"/"))
