"""Traffic of Services and Routes (§5.3)."""

import pytest


def service_errors(judge, *traffic):
    return [text.replace("spec.traffic", "T") for text in judge.errors(judge.service(traffic=list(traffic)))]


def route_errors(judge, *traffic):
    route = judge.build("serving.knative.dev", "Route", spec={"traffic": list(traffic)})
    return [text.replace("spec.traffic", "T") for text in judge.errors(route)]


@pytest.mark.parametrize(("percents", "total"), [([90], 90), ([50, 51], 101), ([0], 0)])
def test_percents_sum_to_100(judge, percents, total):
    traffic = [{"revisionName": f"hello-{index}", "percent": percent} for index, percent in enumerate(percents)]
    assert service_errors(judge, *traffic) == [f"Traffic targets sum to {total}, want 100: T"]


def test_each_percent_lies_in_0_to_100(judge):
    said = service_errors(judge, {"latestRevision": True, "percent": 101}, {"revisionName": "a", "percent": -1})
    assert said == ["expected 0 <= -1 <= 100: T[1].percent", "expected 0 <= 101 <= 100: T[0].percent"]


def test_a_tag_is_a_dns_label(judge):
    (error,) = service_errors(judge, {"latestRevision": True, "percent": 100, "tag": "Blue"})
    assert error.startswith("invalid value: not a DNS 1035 label: [a DNS-1035 label must consist of")
    assert error.endswith("]: T[0].tag")


def test_a_tag_is_given_once_and_both_places_are_named(judge):
    said = service_errors(
        judge, {"latestRevision": True, "percent": 100, "tag": "t"}, {"revisionName": "hello-1", "tag": "t"}
    )
    assert said == ['Multiple definitions for "t": T[0].tag, T[1].tag']


def test_a_url_is_not_for_the_spec(judge):
    said = service_errors(judge, {"latestRevision": True, "percent": 100, "tag": "t", "url": "http://x"})
    assert said == ["must not set the field(s): T[0].url"]


def test_latest_and_a_revision_name_exclude_each_other(judge):
    assert service_errors(judge, {"latestRevision": True, "revisionName": "r", "percent": 100}) == [
        'may not set revisionName "r" when latestRevision is true: T[0].latestRevision'
    ]
    assert service_errors(judge, {"latestRevision": False, "percent": 100}) == [
        'may not set revisionName "" when latestRevision is false: T[0].latestRevision'
    ]


def test_a_service_has_its_own_configuration(judge):
    assert service_errors(judge, {"configurationName": "x", "percent": 100}) == [
        "must not set the field(s): T[0].configurationName"
    ]


def test_a_route_names_a_revision_or_a_configuration(judge):
    assert route_errors(judge, {"percent": 100}) == [
        "expected exactly one, got neither: T[0].configurationName, T[0].revisionName"
    ]
    assert route_errors(judge, {"percent": 100, "revisionName": "a", "configurationName": "b"}) == [
        "expected exactly one, got both: T[0].configurationName, T[0].revisionName"
    ]
    assert route_errors(judge, {"percent": 50, "revisionName": "a"}, {"percent": 50, "configurationName": "b"}) == []


def test_names_must_be_names(judge):
    (error,) = route_errors(judge, {"percent": 100, "revisionName": "no good"})
    assert error.startswith('invalid key name "no good": T[0].revisionName\nname part must consist of')


def test_a_route_without_traffic_does_not_sum_to_100(judge):
    assert route_errors(judge) == ["Traffic targets sum to 0, want 100: T"]
