"""AC-07: one of two activators is killed under load."""

import asyncio

from tests.openloop import Load, get, post

HOST = "busy.default.localhost"


async def test_AC_07_sigkill_of_one_of_two_fails_only_what_was_written_to_it_and_the_gateway_ejects_it_within_a_second(
    yard,
):
    pods = [await yard.pod("one", 0.02), await yard.pod("two", 0.02)]
    yard.publish(limit=20, busy=pods)
    dying, staying = await yard.activator(), await yard.activator()
    gateway = await yard.gateway(dying, staying)
    async with Load(gateway.port, lambda n: post(HOST) if n % 3 else get(HOST)) as load:
        load.start(rate_per_s=400)
        counted = "http_server_request_duration_seconds_count"
        async with asyncio.timeout(60):
            for hop in (dying, staying):  # both serve
                while await asyncio.to_thread(hop.metric, counted, 'status_code="200"') <= 100:
                    await asyncio.sleep(0.1)
        assert not load.failed

        dying.process.kill()
        killed_at = asyncio.get_running_loop().time()
        open_then = set(load.open)
        await asyncio.to_thread(dying.process.wait)  # now the kernel has reset its connections
        await asyncio.to_thread(gateway.metric, counted)  # a turn of the gateway's loop later it has seen that
        known_at = asyncio.get_running_loop().time()
        await asyncio.sleep(2.5)
        await load.stop(10)
        print(load.summary())
        for shot in load.failed:
            # A response did not begin: the client is told so, and how.
            assert shot.status == 502, shot
            assert b"x-dp-error: upstream_reset" in shot.head or b"x-dp-error: connect_failed" in shot.head, shot
            # What carries nothing and is idempotent was sent again.
            assert shot.method == "POST", shot
        # What fails afterwards was written before the gateway saw the end of its connections.
        late = [shot for shot in load.failed if shot.sent_at > known_at]
        assert not late, late
        # And something was in flight, so that this has shown anything.
        assert any(shot.done_at > killed_at and shot.status == 200 for shot in open_then)
