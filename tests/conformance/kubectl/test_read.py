"""kubectl get, describe, explain, api-resources, wait, logs."""

import asyncio
import json

import msgspec

from dataplane.resources import core, serving
from dataplane.resources.meta import Condition, ObjectMeta

GROUP = "serving.knative.dev"
CREATED = "2026-11-22T10:00:00Z"


def service(name: str = "hello", ready: str = "True", **meta) -> serving.Service:
    return serving.Service(
        metadata=ObjectMeta(name=name, namespace="default", uid=f"uid-{name}", creation_timestamp=CREATED, **meta),
        status=serving.ServiceStatus(
            url=f"http://{name}.default.localhost:8080",
            latest_created_revision_name=f"{name}-00002",
            latest_ready_revision_name=f"{name}-00001",
            conditions=(Condition(type="Ready", status=ready, reason="" if ready == "True" else "RevisionMissing"),),
        ),
    )


def pod(name: str = "hello-00001-deployment-x", containers: tuple[str, ...] = ("user-container",)) -> core.Pod:
    return core.Pod(
        metadata=ObjectMeta(name=name, namespace="default", uid=name, creation_timestamp=CREATED),
        spec=core.PodSpec(containers=tuple(core.Container(name=c, image="demo://hello") for c in containers)),
        status=core.PodStatus(
            phase="Running",
            container_statuses=tuple(core.ContainerStatus(name=c, ready=True, restart_count=2) for c in containers),
        ),
    )


def rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


async def test_services_have_knatives_columns(kubectl) -> None:
    await kubectl.put("Service", service(), GROUP)
    await kubectl.put("Service", service("bad", "False"), GROUP)
    assert rows(await kubectl("get", "ksvc")) == [
        ["NAME", "URL", "LATESTCREATED", "LATESTREADY", "READY", "REASON"],
        ["bad", "http://bad.default.localhost:8080", "bad-00002", "bad-00001", "False", "RevisionMissing"],
        ["hello", "http://hello.default.localhost:8080", "hello-00002", "hello-00001", "True"],
    ]


async def test_every_kind_can_be_listed_under_all_its_names(kubectl) -> None:
    names = "kservice,configuration,cfg,config,revision,rev,route,rt,kpa,pa,pod,po,cm,secret,ns,sa,event,ev".split(",")
    results = await asyncio.gather(*(kubectl.run("get", name, "-A") for name in names))
    assert [(n, r) for n, r in zip(names, results, strict=True) if r.code or "Error" in r.err] == []


async def test_revisions_routes_configurations_and_pods_have_knatives_columns(kubectl) -> None:
    labels = {f"{GROUP}/configuration": "hello", f"{GROUP}/configurationGeneration": "1"}
    meta = ObjectMeta(name="hello-00001", namespace="default", labels=labels, creation_timestamp=CREATED)
    ready = (Condition(type="Ready", status="True"),)
    status = serving.RevisionStatus(conditions=ready, actual_replicas=0, desired_replicas=1)
    await kubectl.put("Revision", serving.Revision(metadata=meta, status=status), GROUP)
    await kubectl.put("Pod", pod())
    assert rows(await kubectl("get", "rev")) == [
        "NAME CONFIG NAME GENERATION READY REASON ACTUAL REPLICAS DESIRED REPLICAS".split(),
        ["hello-00001", "hello", "1", "True", "0", "1"],
    ]
    out = rows(await kubectl("get", "pods"))
    assert out[0] == ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]
    assert out[1][:4] == ["hello-00001-deployment-x", "1/1", "Running", "2"]


async def test_categories_show_all_of_knative(kubectl) -> None:
    await kubectl.put("Service", service(), GROUP)
    await kubectl.put("Route", serving.Route(metadata=ObjectMeta(name="hello", namespace="default")), GROUP)
    await kubectl.put("Pod", pod())
    knative = await kubectl("get", "knative", "-o", "name")
    assert sorted(knative.split()) == ["route.serving.knative.dev/hello", "service.serving.knative.dev/hello"]
    everything = await kubectl("get", "all", "-o", "name")
    assert {"pod/hello-00001-deployment-x", "service.serving.knative.dev/hello"} <= set(everything.split())


async def test_output_as_yaml_json_jsonpath_name_and_custom_columns(kubectl) -> None:
    await kubectl.put("Service", service(), GROUP)
    whole = json.loads(await kubectl("get", "ksvc", "hello", "-o", "json"))
    assert (whole["apiVersion"], whole["kind"]) == ("serving.knative.dev/v1", "Service")
    assert "uid: uid-hello" in await kubectl("get", "ksvc/hello", "-o", "yaml")
    condition = 'jsonpath={.status.conditions[?(@.type=="Ready")].status}'
    assert await kubectl("get", "ksvc", "hello", "-o", condition) == "True"
    assert await kubectl("get", "ksvc", "-o", "name") == "service.serving.knative.dev/hello\n"
    assert rows(await kubectl("get", "ksvc", "-o", "custom-columns=N:.metadata.name,U:.status.url"))[1][0] == "hello"
    assert rows(await kubectl("get", "ksvc", "--sort-by", ".metadata.name", "-o", "wide"))[1][0] == "hello"


async def test_labels_and_fields_select(kubectl) -> None:
    for name, color in (("a", "red"), ("b", "blue"), ("c", "")):
        await kubectl.put("Service", service(name, labels={"color": color} if color else {}), GROUP)
    assert await kubectl("get", "ksvc", "-o", "name", "-l", "color=red") == "service.serving.knative.dev/a\n"
    assert len((await kubectl("get", "ksvc", "-o", "name", "-l", "color in (red, blue)")).split()) == 2
    assert await kubectl("get", "ksvc", "-o", "name", "-l", "!color") == "service.serving.knative.dev/c\n"
    by_name = ("--field-selector", "metadata.name=b")
    assert await kubectl("get", "ksvc", "-o", "name", *by_name) == "service.serving.knative.dev/b\n"


async def test_lists_come_in_chunks_when_asked(kubectl) -> None:
    for n in range(12):
        await kubectl.put("Service", service(f"s{n:02}"), GROUP)
    assert len((await kubectl("get", "ksvc", "-o", "name", "--chunk-size", "5")).split()) == 12
    assert len(rows(await kubectl("get", "ksvc", "--chunk-size", "5"))) == 13


async def test_missing_objects_and_kinds_are_named(kubectl) -> None:
    result = await kubectl.run("get", "ksvc", "nope")
    assert result.err == 'Error from server (NotFound): services.serving.knative.dev "nope" not found\n'
    result = await kubectl.run("get", "gadgets")
    assert result.err == 'error: the server doesn\'t have a resource type "gadgets"\n'


async def test_watch_prints_changes_as_rows_and_the_header_once(kubectl) -> None:
    await kubectl.put("Service", service(ready="Unknown"), GROUP)
    async with kubectl.following("get", "ksvc", "-w") as out:
        assert (await out.readline()).split()[0] == b"NAME"
        assert (await out.readline()).split()[4] == b"Unknown"
        await kubectl.put("Service", service(ready="True"), GROUP)
        assert (await out.readline()).split()[4] == b"True"
        await kubectl.put("Service", service("second"), GROUP)
        assert (await out.readline()).split()[0] == b"second"


async def test_watch_only_with_a_selector_and_json(kubectl) -> None:
    async with kubectl.following("get", "ksvc", "-w", "-l", "x=y", "-o", "json") as out:
        await kubectl.put("Service", service(), GROUP)
        await kubectl.put("Service", service("other", labels={"x": "y"}), GROUP)
        text = b""
        while not text.endswith(b"\n}\n"):
            text += await out.readline()
        assert json.loads(text)["metadata"]["name"] == "other"


async def test_wait_returns_when_the_condition_is_met(kubectl) -> None:
    await kubectl.put("Service", service(ready="Unknown"), GROUP)
    waiting = asyncio.create_task(kubectl.run("wait", "--for=condition=Ready", "ksvc/hello", "--timeout=20s"))
    for _ in range(3):
        await asyncio.sleep(0.1)
    assert not waiting.done()
    await kubectl.put("Service", service(ready="True"), GROUP)
    result = await waiting
    assert result.out == "service.serving.knative.dev/hello condition met\n"


async def test_describe_shows_status_and_events(kubectl) -> None:
    stored = await kubectl.put("Service", service(), GROUP)
    about = core.ObjectReference(
        api_version="serving.knative.dev/v1", kind="Service", name="hello", namespace="default", uid="uid-hello"
    )
    event = core.Event(
        metadata=ObjectMeta(name="hello.1", namespace="default"),
        involved_object=about,
        reason="Created",
        message="Created Configuration hello",
        first_timestamp=CREATED,
        last_timestamp=CREATED,
        source=core.EventSource(component="service-controller"),
    )
    await kubectl.put("Event", event)
    other = msgspec.structs.replace(about, name="other", uid="x")
    await kubectl.put(
        "Event",
        msgspec.structs.replace(
            event, metadata=ObjectMeta(name="other.1", namespace="default"), involved_object=other, message="not shown"
        ),
    )
    text = await kubectl("describe", "ksvc", "hello")
    assert stored.metadata.uid in text
    assert "http://hello.default.localhost:8080" in text
    assert "Created Configuration hello" in text
    assert "not shown" not in text
    out = rows(await kubectl("get", "events", "--field-selector", "involvedObject.name=hello"))
    assert out[0] == ["LAST", "SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"]
    assert out[1][1:4] == ["Normal", "Created", "service/hello"]


async def test_describe_knows_pods_namespaces_configmaps_and_secrets(kubectl) -> None:
    await kubectl.put("Pod", pod())
    meta = ObjectMeta(name="s", namespace="default")
    await kubectl.put("Secret", core.Secret(metadata=meta, data={"password": "aHVudGVyMg=="}))
    assert ["Status:", "Running"] in rows(await kubectl("describe", "pod", "hello-00001-deployment-x"))
    assert ["Status:", "Active"] in rows(await kubectl("describe", "ns", "default"))
    text = await kubectl("describe", "secret", "s")
    assert "password:  7 bytes" in text


async def test_explain_tells_types_and_meanings(kubectl) -> None:
    text = await kubectl("explain", "ksvc.spec.template.spec.containerConcurrency")
    assert "GROUP:      serving.knative.dev" in text
    assert "FIELD: containerConcurrency <integer>" in text
    assert "How many requests a container may work on" in text
    text = await kubectl("explain", "ksvc.spec")
    assert "template\t<RevisionTemplate>" in text
    assert "traffic\t<[]TrafficTarget>" in text
    assert "containers\t<[]Container>" in await kubectl("explain", "pod.spec", "--recursive")


async def test_api_resources_and_version(kubectl) -> None:
    out = rows(await kubectl("api-resources"))
    assert ["services", "kservice,ksvc", "serving.knative.dev/v1", "true", "Service"] in out
    assert ["pods", "po", "v1", "true", "Pod"] in out
    assert "serving.knative.dev/v1" in (await kubectl("api-versions")).split()
    assert "+dataplane." in json.loads(await kubectl("version", "-o", "json"))["serverVersion"]["gitVersion"]


async def test_logs_and_logs_that_are_followed(kubectl) -> None:
    await kubectl.put("Pod", pod())
    name = "hello-00001-deployment-x"
    assert await kubectl("logs", name) == "one\ntwo\n"
    assert await kubectl("logs", name, "--tail=1", "--since=5m", "--timestamps", "-c", "user-container") == "two\n"
    assert kubectl.logs.asked[-1] == {
        "pod": f"default/{name}",
        "container": "user-container",
        "follow": False,
        "tail_lines": 1,
        "since_s": 300,
        "previous": False,
        "timestamps": True,
    }
    async with kubectl.following("logs", "-f", name) as out:
        assert await out.readline() == b"one\n"
        assert await out.readline() == b"two\n"
        kubectl.logs.more.put_nowait(b"three\n")
        assert await out.readline() == b"three\n"
        kubectl.logs.more.put_nowait(None)
        assert await out.read() == b""


async def test_logs_say_why_there_are_none(kubectl) -> None:
    await kubectl.put("Pod", pod(containers=("first", "waiting")))
    name = "hello-00001-deployment-x"
    result = await kubectl.run("logs", name, "-c", "waiting")
    assert "is waiting to start: ContainerCreating" in result.err
    result = await kubectl.run("logs", name, "-c", "third")
    assert "container third is not valid for pod" in result.err
    assert "NotFound" in (await kubectl.run("logs", "nope")).err
