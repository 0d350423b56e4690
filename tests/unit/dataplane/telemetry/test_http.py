"""What a straight exchange is, and what follows from it when somebody asks. Source: design/ecosystem.md §3.1."""

from prometheus_client.parser import text_string_to_metric_families

from dataplane.telemetry.http import HttpFamilies
from dataplane.telemetry.metrics import Registry

WHO = ("kn_revision_name",)
AT = ("127.0.0.1", 8080)


def samples(registry: Registry) -> dict[str, list]:
    found: dict[str, list] = {}
    for family in text_string_to_metric_families(registry.render()):
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample)
    return found


def test_a_straight_exchange_counts_on_both_sides_with_an_empty_request():
    registry = Registry()
    cells = HttpFamilies(registry, WHO).cells(("r",), b"GET", 1, 200, AT)
    cells.straight.observe(0.02)
    cells.response.observe(300)
    cells.other(2.0, 1.5, 7, 1_000_000)
    for _ in range(2):  # asking changes nothing
        found = samples(registry)
        for name, count, total in (
            ("http_server_request_duration_seconds", 2, 2.02),
            ("http_client_request_duration_seconds", 2, 1.52),
            ("http_server_request_body_size_bytes", 2, 7),
            ("http_client_request_body_size_bytes", 2, 7),
            ("http_server_response_body_size_bytes", 2, 1_000_300),
        ):
            assert [s.value for s in found[f"{name}_count"]] == [count], name
            assert [s.value for s in found[f"{name}_sum"]] == [total], name
        [empty] = [s for s in found["http_server_request_body_size_bytes_bucket"] if float(s.labels["le"]) == 0]
        assert empty.value == 1
    assert found["http_server_request_duration_seconds_count"][0].labels == {
        "kn_revision_name": "r", "http_request_method": "GET", "http_response_status_code": "200",
        "network_protocol_name": "http", "network_protocol_version": "1.1", "server_address": "127.0.0.1",
        "server_port": "8080", "url_scheme": "http",
    }  # fmt: skip


def test_what_was_not_sent_on_has_no_client_side():
    registry = Registry()
    HttpFamilies(registry, WHO).cells(("r",), b"GET", 1, 503, AT).other(0.1, None, 0, 0)
    found = samples(registry)
    assert found["http_server_request_duration_seconds_count"][0].value == 1
    assert found["http_client_request_duration_seconds_count"][0].value == 0


def test_methods_that_nobody_knows_are_one():
    registry = Registry()
    families = HttpFamilies(registry, WHO)
    one, other = (families.cells(("r",), method, 1, 200, AT) for method in (b"PROPFIND", b"MKCOL"))
    assert one is other
    one.other(0.1, 0.1, 0, 0)
    assert samples(registry)["http_server_request_duration_seconds_count"][0].labels["http_request_method"] == "_OTHER"


def test_who_is_forgotten_leaves_no_series():
    registry = Registry()
    families = HttpFamilies(registry, WHO)
    for name in ("gone", "kept"):
        families.cells((name,), b"GET", 1, 200, AT).straight.observe(0.1)
    registry.render()
    families.forget(("gone",))
    registry.drop(kn_revision_name="gone")
    assert 'kn_revision_name="gone"' not in registry.render()
    assert 'kn_revision_name="kept"' in registry.render()
