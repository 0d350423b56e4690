"""Names of children (spec/serving.md §1.7, §1.8)."""

import hashlib
import random

from hypothesis import given
from hypothesis import strategies as st

from controlplane.reconcile.naming import child_name, pod_name, revision_name, suffixes


def test_short_names_are_joined():
    assert child_name("hello", "-deployment") == "hello-deployment"
    assert revision_name("hello", 2) == "hello-00002"
    assert revision_name("hello", 123456) == "hello-123456"


def test_a_long_parent_is_cut_and_hashed():
    parent = "a" * 60
    digest = hashlib.md5(parent.encode()).hexdigest()
    assert child_name(parent, "-deployment") == "a" * (31 - 11) + digest + "-deployment"


def test_a_long_suffix_fills_up_what_is_left():
    suffix = "-" + "s" * 39
    digest = hashlib.md5(("p" * 40 + suffix).encode()).hexdigest()
    assert child_name("p" * 40, suffix) == "p" * 31 + digest


@given(st.text("abc-", min_size=1, max_size=80), st.text("xyz-", min_size=1, max_size=80))
def test_names_fit_and_are_stable(parent, suffix):
    name = child_name(parent, suffix)
    assert len(name) <= 63 or name == parent + suffix
    assert len(name) <= 63
    assert name == child_name(parent, suffix)


def test_different_long_parents_have_different_children():
    assert child_name("x" * 70 + "1", "-a") != child_name("x" * 70 + "2", "-a")


def test_pods_are_named_like_those_of_a_replica_set():
    suffix = suffixes(random.Random(4))
    first, second = pod_name("hello-00001", "uid", suffix()), pod_name("hello-00001", "uid", suffix())
    assert first.rpartition("-")[0] == second.rpartition("-")[0]
    assert first != second
    assert first.startswith("hello-00001-deployment-")
    assert len(first.rpartition("-")[2]) == 5
