"""What a separate activator measures: by OpenTelemetry's names with Knative's labels; a deleted revision leaves no series."""

import asyncio

from tests.openloop import Load, get

HOST = "busy.default.localhost"
COUNT = "http_server_request_duration_seconds_count"


async def test_requests_are_measured_on_both_sides_until_their_revision_is_deleted(yard):
    yard.publish(limit=20, busy=[await yard.pod("one", 0.01)], other=[await yard.pod("two", 0.01)])
    hop = await yard.activator()
    gateway = await yard.gateway(hop)
    async with Load(gateway.port, lambda n: get(HOST)) as load:
        load.start(rate_per_s=100)
        await asyncio.sleep(0.5)
        await load.stop(5)
    assert not load.failed
    labels = (
        'kn_revision_name="busy"', 'http_request_method="GET"', 'http_response_status_code="200"',
        'network_protocol_name="http"', f'server_port="{hop.port}"', 'url_scheme="http"',
    )  # fmt: skip
    served = await asyncio.to_thread(hop.metric, COUNT, *labels)
    assert served == len(load.shots)
    for name in (
        "http_client_request_duration_seconds_count",
        "http_server_request_body_size_bytes_count",
        "http_server_response_body_size_bytes_count",
        "http_client_request_body_size_bytes_count",
    ):
        assert await asyncio.to_thread(hop.metric, name, *labels) == served
    assert await asyncio.to_thread(hop.metric, "http_server_response_body_size_bytes_sum", *labels) == 3 * served

    yard.publish(limit=20, other=[await yard.pod("three", 0.01)])
    async with asyncio.timeout(10):
        while await asyncio.to_thread(hop.metric, COUNT, 'kn_revision_name="busy"'):
            await asyncio.sleep(0.05)
