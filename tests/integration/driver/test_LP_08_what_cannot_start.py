"""LP-08: what cannot be started gives a clear status, and never an exception of the supervisor."""

import os

import pytest


async def _refused(bench, container):
    uid = bench.start(container)
    report = await bench.container_until(uid, lambda c: c.last_reason == "ContainerCannotRun")
    assert bench.driver.nursery_pid
    return report


async def test_LP_08_a_missing_executable_is_named(bench):
    report = await _refused(bench, bench.container("no-such-program"))
    assert report.last_exit_code == 127
    assert report.last_message == 'exec: "no-such-program": executable file not found in $PATH'


async def test_LP_08_a_missing_path_is_named(bench):
    report = await _refused(bench, bench.container("/no/such/program"))
    assert report.last_message == 'exec: "/no/such/program": no such file or directory'


async def test_LP_08_a_bad_interpreter_is_told_from_a_missing_file(bench):
    script = bench.folder / "script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    report = await _refused(bench, bench.container(str(script)))
    assert report.last_message == f'exec "{script}": its interpreter does not exist'


async def test_LP_08_a_file_without_permission_is_refused(bench):
    script = bench.folder / "script"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o644)
    report = await _refused(bench, bench.container(str(script)))
    assert (report.last_exit_code, report.last_message) == (126, f'exec "{script}": Permission denied')


async def test_LP_08_a_text_without_interpreter_is_refused(bench):
    script = bench.folder / "script"
    script.write_text("not a program")
    script.chmod(0o755)
    report = await _refused(bench, bench.container(str(script)))
    assert report.last_message == f'exec "{script}": not a program and no "#!" line'


@pytest.mark.parametrize(
    "broken", [{"argv": ("echo", "a\0b")}, {"env": {"A": "b\0c"}}, {"env": {"A=B": "c"}}, {"argv": ()}]
)
async def test_LP_08_bytes_that_exec_cannot_take_are_refused(bench, broken):
    container = bench.container("echo")
    report = await _refused(
        bench,
        bench.container(**{"argv": container.argv, **broken})
        if "argv" not in broken
        else bench.container(*broken["argv"]),
    )
    assert report.last_exit_code == 128


async def test_LP_08_a_missing_working_directory_is_named(bench):
    report = await _refused(bench, bench.container("echo", cwd="/no/such/folder"))
    assert report.last_message == "working directory '/no/such/folder': No such file or directory"


async def test_LP_08_an_environment_over_the_kernels_limit_is_refused(bench):
    report = await _refused(bench, bench.container("echo", env={"PATH": os.environ["PATH"], "BIG": "x" * 3_000_000}))
    assert report.last_message == 'exec "echo": Argument list too long'


async def test_LP_08_a_pod_over_the_frame_limit_is_reported_gone(bench):
    uid = bench.start(bench.container("echo", env={"BIG": "x" * 9_000_000}))
    report = await bench.gone(uid)
    assert report.containers[0].reason == "ContainerCannotRun"


async def test_LP_08_other_pods_do_not_notice(bench):
    healthy = bench.start(bench.container("sleep", "1000"))
    pid = (await bench.running(healthy)).pid
    await _refused(bench, bench.container("no-such-program"))
    os.kill(pid, 0)


async def test_LP_08_a_bad_interpreter_on_the_path_is_told_from_a_missing_file(bench):
    script = bench.folder / "script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    report = await _refused(bench, bench.container("script", env={"PATH": str(bench.folder)}))
    assert report.last_message == 'exec "script": its interpreter does not exist'
