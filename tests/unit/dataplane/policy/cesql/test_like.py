import re

from hypothesis import example, given
from hypothesis import strategies as st

from dataplane.policy.cesql.like import compile_like


def _regex(pattern: str) -> str:
    """The obvious, back-tracking translation."""
    out, at = "", 0
    while at < len(pattern):
        if pattern[at] == "\\" and pattern[at + 1 : at + 2] in ("%", "_"):
            at += 1
            out += re.escape(pattern[at])
        else:
            out += {"%": ".*", "_": "."}.get(pattern[at], re.escape(pattern[at]))
        at += 1
    return out


@example(pattern="ab%_b", text="ab")  # first and last piece may not share characters
@example(pattern="%ab%b%", text="ab")  # nor two in the middle
@example(pattern="a%ba%b", text="aba")
@given(pattern=st.text("ab%_\\", max_size=12), text=st.text("ab%_\\\n", max_size=20))
def test_means_what_the_obvious_translation_means(pattern, text):
    assert compile_like(pattern)(text) is (re.fullmatch(_regex(pattern), text, re.DOTALL) is not None)


def test_a_pattern_that_would_back_track_for_ever_ends():
    assert not compile_like("%a" * 500 + "%b")("a" * 20_000)
    assert not compile_like("%_a" * 500 + "%b")("a" * 20_000)
