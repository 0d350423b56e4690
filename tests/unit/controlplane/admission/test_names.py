"""Names in Kubernetes' rules and words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.admission.names import (
    config_key,
    dns1035_label,
    dns1123_label,
    dns1123_subdomain,
    qualified_name,
)

DNS_1035 = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    "and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is "
    "'[a-z]([-a-z0-9]*[a-z0-9])?')"
)


@pytest.mark.parametrize("name", ["a", "my-name", "abc-123", "x" * 63])
def test_good_labels(name):
    assert dns1035_label(name) == []
    assert dns1123_label(name) == []


@pytest.mark.parametrize("name", ["", "A", "a_b", "-a", "a-", "1a", "a.b", "a\n"])
def test_bad_1035_labels(name):
    assert dns1035_label(name) == [DNS_1035]


def test_a_long_label_says_so():
    assert dns1035_label("x" * 64) == ["must be no more than 63 characters"]


def test_a_prefix_may_end_in_a_dash():
    assert dns1035_label("hello-", prefix=True) == []
    assert dns1035_label("Hello-", prefix=True) == [DNS_1035]


def test_1123_may_begin_with_a_digit_and_subdomains_have_dots():
    assert dns1123_label("1a") == []
    assert dns1123_subdomain("a.b-c.1") == []
    assert dns1123_subdomain("a..b")
    assert dns1123_subdomain("x" * 254)


def test_qualified_names():
    assert qualified_name("Hello_World.1") == []
    assert qualified_name("example.com/name") == []
    assert qualified_name("/name") == ["prefix part must be non-empty"]
    assert qualified_name("a b")
    assert qualified_name("")
    assert qualified_name("x" * 64) == ["name part must be no more than 63 characters"]


def test_keys_of_config_maps_can_be_files():
    assert config_key("app.properties") == []
    for key in ("..", ".", "..a", "a/b", "", "a\n"):
        assert config_key(key), key


@given(st.text(max_size=2000))
def test_no_text_breaks_a_rule_that_judges_it(name):
    for rule in (dns1035_label, dns1123_label, dns1123_subdomain, qualified_name, config_key):
        assert isinstance(rule(name), list)
