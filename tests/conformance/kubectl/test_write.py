"""kubectl apply, create, patch, edit (as PUT), label, replace, diff, delete, and what it prints when it may not."""

import asyncio
import json

import msgspec
import yaml

from dataplane.resources import core, serving
from dataplane.resources.meta import ObjectMeta, OwnerReference

GROUP = "serving.knative.dev"

HELLO = """
apiVersion: serving.knative.dev/v1
kind: Service
metadata:
  name: hello
spec:
  template:
    spec:
      containers:
        - image: ghcr.io/knative/helloworld-go:latest
          ports:
            - containerPort: 8080
          env:
            - name: TARGET
              value: World
"""


def service(kubectl, name: str = "hello") -> serving.Service:
    found = kubectl.get(GROUP, "Service", name)
    assert isinstance(found, serving.Service)
    return found


async def test_apply_creates_a_service_with_defaults_and_metadata(kubectl) -> None:
    assert await kubectl("apply", "-f", kubectl.file(HELLO)) == "service.serving.knative.dev/hello created\n"
    found = service(kubectl)
    meta = found.metadata
    assert meta.uid
    assert meta.creation_timestamp
    assert meta.generation == 1
    assert meta.annotations["serving.knative.dev/creator"] == "dataplane"
    assert found.spec.template.spec.timeout_seconds == 300
    assert found.spec.traffic[0].latest_revision is True


async def test_apply_again_changes_nothing_and_a_change_is_one_generation(kubectl) -> None:
    await kubectl("apply", "-f", kubectl.file(HELLO))
    before = service(kubectl)
    await kubectl("apply", "-f", kubectl.file(HELLO))
    assert service(kubectl) == before
    await kubectl("apply", "-f", kubectl.file(HELLO.replace("World", "Moon")))
    after = service(kubectl)
    assert after.metadata.generation == 2
    assert after.spec.template.spec.containers[0].env[0].value == "Moon"
    assert after.metadata.uid == before.metadata.uid


async def test_apply_removes_what_the_manifest_no_longer_says(kubectl) -> None:
    await kubectl("apply", "-f", kubectl.file(HELLO.replace("name: hello", "name: hello\n  labels: {a: b}", 1)))
    assert service(kubectl).metadata.labels == {"a": "b"}
    await kubectl("apply", "-f", kubectl.file(HELLO))
    assert service(kubectl).metadata.labels == {}


async def test_apply_of_core_kinds_merges(kubectl) -> None:
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: cm}\ndata: {a: '1', b: '2'}\n"
    assert await kubectl("apply", "-f", kubectl.file(text)) == "configmap/cm created\n"
    assert await kubectl("apply", "-f", kubectl.file(text)) == "configmap/cm unchanged\n"
    await kubectl("patch", "cm", "cm", "-p", '{"data":{"c":"3"}}')
    await kubectl("apply", "-f", kubectl.file(text.replace(", b: '2'", "")))
    found = kubectl.get("", "ConfigMap", "cm")
    assert isinstance(found, core.ConfigMap)
    assert found.data == {"a": "1", "c": "3"}


async def test_an_unknown_field_is_refused_with_its_path_and_a_suggestion(kubectl) -> None:
    result = await kubectl.run("apply", "-f", kubectl.file(HELLO.replace("image:", "imagee:")))
    assert result.code == 1
    assert (
        'strict decoding error: unknown field "spec.template.spec.containers[0].imagee"; did you mean "image"?'
        in result.err
    )
    assert kubectl.get(GROUP, "Service", "hello") is None


async def test_an_unknown_kind_is_named(kubectl) -> None:
    for validate in ("strict", "warn", "ignore"):
        manifest = kubectl.file(HELLO.replace("kind: Service", "kind: Servcie"))
        result = await kubectl.run("apply", f"--validate={validate}", "-f", manifest)
        assert result.code == 1
        assert 'no matches for kind "Servcie" in version "serving.knative.dev/v1"' in result.err


async def test_an_unknown_field_is_only_a_warning_when_asked(kubectl) -> None:
    manifest = kubectl.file(HELLO + "          colour: blue\n")
    result = await kubectl.run("apply", "--validate=warn", "-f", manifest)
    assert result.code == 0
    assert 'unknown field "spec.template.spec.containers[0].colour"' in result.err
    assert service(kubectl).spec.template.spec.containers[0].image


async def test_a_wrong_type_is_named(kubectl) -> None:
    result = await kubectl.run("apply", "-f", kubectl.file(HELLO.replace("8080", "many")))
    assert "spec.template.spec.containers[0].ports[0].containerPort: expected an integer" in result.err


async def test_knatives_own_validation_speaks_in_its_words(kubectl) -> None:
    result = await kubectl.run("apply", "-f", kubectl.file(HELLO.replace("8080", "8012")))
    assert (
        'admission webhook "validation.webhook.serving.knative.dev" denied the request: validation failed: '
        "invalid value: 8012" in result.err
    )
    result = await kubectl.run("create", "cm", "config-autoscaler", "-n", "knative-serving", "--from-literal=x=y")
    assert result.code == 0
    bad = ("patch", "cm", "config-autoscaler", "-n", "knative-serving", "-p", '{"data":{"stable-window":"soon"}}')
    result = await kubectl.run(*bad)
    assert 'admission webhook "config.webhook.serving.knative.dev" denied the request' in result.err


async def test_create_replace_and_already_exists(kubectl) -> None:
    manifest = kubectl.file(HELLO)
    assert await kubectl("create", "-f", manifest) == "service.serving.knative.dev/hello created\n"
    result = await kubectl.run("create", "-f", manifest)
    assert 'services.serving.knative.dev "hello" already exists' in result.err
    assert "replaced" in await kubectl("replace", "-f", kubectl.file(HELLO.replace("World", "Moon")))
    assert service(kubectl).metadata.generation == 2
    result = await kubectl.run("replace", "-f", kubectl.file(HELLO.replace("name: hello", "name: other", 1)))
    assert "NotFound" in result.err


async def test_typed_creates_arrive_as_protobuf_and_are_read(kubectl) -> None:
    assert await kubectl("create", "namespace", "team") == "namespace/team created\n"
    await kubectl(
        "create", "configmap", "cm", "-n", "team", "--from-literal=a=1", "--from-literal=b=ü", "--dry-run=none"
    )
    await kubectl("create", "secret", "generic", "s", "-n", "team", "--from-literal=password=hunter2", "--type=x/y")
    await kubectl("create", "serviceaccount", "robot", "-n", "team")
    config_map = kubectl.get("", "ConfigMap", "cm", "team")
    assert isinstance(config_map, core.ConfigMap)
    assert config_map.data == {"a": "1", "b": "ü"}
    secret = kubectl.get("", "Secret", "s", "team")
    assert isinstance(secret, core.Secret)
    assert (secret.data, secret.type) == ({"password": "aHVudGVyMg=="}, "x/y")
    assert json.loads(await kubectl("get", "sa", "robot", "-n", "team", "-o", "json"))["metadata"]["uid"]


async def test_the_namespace_must_exist(kubectl) -> None:
    result = await kubectl.run("apply", "-n", "nowhere", "-f", kubectl.file(HELLO))
    assert 'namespaces "nowhere" not found' in result.err


async def test_patches_merge_json_and_strategic(kubectl) -> None:
    await kubectl("apply", "-f", kubectl.file(HELLO))

    async def patch(kind: str, body: object) -> int | None:
        await kubectl("patch", "ksvc", "hello", "--type", kind, "-p", json.dumps(body))
        return service(kubectl).spec.template.spec.container_concurrency

    assert await patch("merge", {"spec": {"template": {"spec": {"containerConcurrency": 5}}}}) == 5
    replace = {"op": "replace", "path": "/spec/template/spec/containerConcurrency", "value": 6}
    assert await patch("json", [replace]) == 6
    containers = [{"name": "user-container", "env": [{"name": "MORE", "value": "1"}]}]
    spec = {"containerConcurrency": 7, "containers": containers}
    assert await patch("strategic", {"spec": {"template": {"spec": spec}}}) == 7
    container = service(kubectl).spec.template.spec.containers[0]
    assert {one.name for one in container.env} == {"TARGET", "MORE"}
    assert service(kubectl).metadata.generation == 4


async def test_a_patch_that_does_not_apply_is_422(kubectl) -> None:
    await kubectl("apply", "-f", kubectl.file(HELLO))
    patch = '[{"op":"test","path":"/metadata/name","value":"other"}]'
    result = await kubectl.run("patch", "ksvc", "hello", "--type", "json", "-p", patch)
    assert "the server rejected our request due to an error in our request" in result.err


async def test_labels_and_annotations_do_not_make_a_generation(kubectl) -> None:
    await kubectl("apply", "-f", kubectl.file(HELLO))
    assert "labeled" in await kubectl("label", "ksvc", "hello", "team=a")
    assert "annotated" in await kubectl("annotate", "ksvc", "hello", "note=b")
    assert "unlabeled" in await kubectl("label", "ksvc", "hello", "team-")
    meta = service(kubectl).metadata
    assert (meta.generation, meta.labels, meta.annotations["note"]) == (1, {}, "b")


async def test_CP_03_a_replace_with_an_old_version_is_a_conflict(kubectl) -> None:
    await kubectl("apply", "-f", kubectl.file(HELLO))
    old = await kubectl("get", "ksvc", "hello", "-o", "yaml")
    await kubectl("label", "ksvc", "hello", "team=a")
    result = await kubectl.run("replace", "-f", kubectl.file(old))
    assert "the object has been modified; please apply your changes to the latest version and try again" in result.err
    assert service(kubectl).metadata.labels == {"team": "a"}


async def test_status_is_written_by_its_own_door_only(kubectl) -> None:
    await kubectl("apply", "-f", kubectl.file(HELLO))
    await kubectl("patch", "ksvc", "hello", "--type=merge", "-p", '{"status":{"url":"http://evil"}}')
    assert service(kubectl).status.url == ""
    status = '{"status":{"url":"http://x"},"spec":{"traffic":[]}}'
    await kubectl("patch", "ksvc", "hello", "--subresource=status", "--type=merge", "-p", status)
    found = service(kubectl)
    assert (found.status.url, len(found.spec.traffic), found.metadata.generation) == ("http://x", 1, 1)


async def test_server_side_apply_owns_fields_and_conflicts(kubectl) -> None:
    first = ("apply", "--server-side", "--field-manager=first", "-f")
    second = ("apply", "--server-side", "--field-manager=second")
    assert "serverside-applied" in await kubectl(*first, kubectl.file(HELLO))
    before = service(kubectl)
    await kubectl(*first, kubectl.file(HELLO))
    assert service(kubectl) == before

    # The same wish from somebody else is no conflict although defaulting has added to the list of containers.
    await kubectl(*second, "-f", kubectl.file(HELLO))
    moon = kubectl.file(HELLO.replace("World", "Moon"))
    result = await kubectl.run(*second, "-f", moon)
    assert 'conflict with "first": .spec.template.spec.containers' in result.err
    await kubectl(*second, "--force-conflicts", "-f", moon)
    assert service(kubectl).spec.template.spec.containers[0].env[0].value == "Moon"
    owners = {entry.manager: entry.fields_v1 for entry in service(kubectl).metadata.managed_fields}
    assert "first" not in owners
    assert owners["second"] == {"f:spec": {"f:template": {"f:spec": {"f:containers": {}}}}}


async def test_server_side_apply_removes_what_nobody_wants_any_more(kubectl) -> None:
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: cm}\ndata: {a: '1', b: '2'}\n"
    apply = ("apply", "--server-side", "-f")
    await kubectl(*apply, kubectl.file(text))
    await kubectl("patch", "cm", "cm", "--type=merge", "-p", '{"data":{"c":"3"}}')
    await kubectl(*apply, kubectl.file(text.replace(", b: '2'", "")))
    found = kubectl.get("", "ConfigMap", "cm")
    assert isinstance(found, core.ConfigMap)
    assert found.data == {"a": "1", "c": "3"}


async def test_client_side_apply_may_be_followed_by_server_side_apply(kubectl) -> None:
    await kubectl("apply", "-f", kubectl.file(HELLO))
    await kubectl("apply", "--server-side", "-f", kubectl.file(HELLO))
    await kubectl("apply", "--server-side", "-f", kubectl.file(HELLO.replace("World", "Moon")))
    assert service(kubectl).spec.template.spec.containers[0].env[0].value == "Moon"


async def test_diff_shows_the_change_and_writes_nothing(kubectl) -> None:
    await kubectl("apply", "-f", kubectl.file(HELLO))
    before = service(kubectl)
    for how in ((), ("--server-side", "--force-conflicts")):
        result = await kubectl.run("diff", *how, "-f", kubectl.file(HELLO.replace("World", "Moon")))
        assert result.code == 1, result.err
        assert "-          value: World" in result.out
        assert "+          value: Moon" in result.out
    assert (await kubectl.run("diff", "-f", kubectl.file(HELLO))).code == 0
    assert service(kubectl) == before


async def test_dry_run_answers_as_if_and_writes_nothing(kubectl) -> None:
    revision = kubectl.store.revision
    out = await kubectl("create", "--dry-run=server", "-o", "yaml", "-f", kubectl.file(HELLO))
    assert yaml.safe_load(out)["spec"]["template"]["spec"]["timeoutSeconds"] == 300
    assert kubectl.store.revision == revision


async def test_delete_waits_until_it_is_gone(kubectl) -> None:
    await kubectl("apply", "-f", kubectl.file(HELLO))
    out = await kubectl("delete", "ksvc", "hello", "--wait")
    assert out.startswith('service.serving.knative.dev "hello" deleted')
    assert kubectl.get(GROUP, "Service", "hello") is None
    assert "NotFound" in (await kubectl.run("delete", "ksvc", "hello")).err


async def test_CP_08_delete_of_an_object_with_a_finalizer_waits_for_it(kubectl) -> None:
    await kubectl("apply", "-f", kubectl.file(HELLO.replace("name: hello", "name: hello\n  finalizers: [a.b/c]", 1)))
    deleting = asyncio.create_task(kubectl.run("delete", "ksvc", "hello", "--wait", "--timeout=30s"))
    while not service(kubectl).metadata.deletion_timestamp:
        await asyncio.sleep(0.01)
    assert not deleting.done()
    await kubectl("patch", "ksvc", "hello", "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
    assert (await deleting).code == 0
    assert kubectl.get(GROUP, "Service", "hello") is None


async def test_delete_of_a_pod_is_a_mark_that_the_kubelet_answers(kubectl) -> None:
    meta = ObjectMeta(name="p", namespace="default", uid="u")
    spec = core.PodSpec(containers=(core.Container(name="c"),), termination_grace_period_seconds=7)
    await kubectl.put("Pod", core.Pod(metadata=meta, spec=spec))
    await kubectl("delete", "pod", "p", "--wait=false")
    found = kubectl.get("", "Pod", "p")
    assert found is not None
    assert found.metadata.deletion_timestamp
    assert found.metadata.deletion_grace_period_seconds == 7
    assert "Terminating" in await kubectl("get", "pods")
    await kubectl("delete", "pod", "p", "--wait=false", "--grace-period=1")
    found = kubectl.get("", "Pod", "p")
    assert found is not None
    assert found.metadata.deletion_grace_period_seconds == 1


async def test_CP_08_orphans_lose_their_owner_and_foreground_waits_for_dependents(kubectl) -> None:
    for name in ("one", "two"):
        await kubectl.put("ConfigMap", core.ConfigMap(metadata=ObjectMeta(name=name, namespace="default", uid=name)))
        ref = OwnerReference(api_version="v1", kind="ConfigMap", name=name, uid=name, controller=True)
        child = core.Secret(metadata=ObjectMeta(name=f"of-{name}", namespace="default", owner_references=(ref,)))
        await kubectl.put("Secret", child)
    await kubectl("delete", "cm", "one", "--cascade=orphan")
    orphan = kubectl.get("", "Secret", "of-one")
    assert orphan is not None
    assert orphan.metadata.owner_references == ()
    await kubectl("delete", "cm", "two", "--cascade=foreground", "--wait=false")
    owner = kubectl.get("", "ConfigMap", "two")
    assert owner is not None
    assert owner.metadata.finalizers == ("foregroundDeletion",)
    assert owner.metadata.deletion_timestamp


async def test_deleting_a_namespace_takes_its_contents(kubectl) -> None:
    await kubectl("create", "namespace", "team")
    await kubectl("apply", "-n", "team", "-f", kubectl.file(HELLO))
    await kubectl("delete", "namespace", "team")
    assert kubectl.get(GROUP, "Service", "hello", "team") is None
    assert kubectl.get("", "Namespace", "team", "") is None
    assert "may not be deleted" in (await kubectl.run("delete", "namespace", "default")).err


async def test_delete_by_selector_and_all(kubectl) -> None:
    for name in ("a", "b", "c"):
        await kubectl.put(
            "Secret", core.Secret(metadata=ObjectMeta(name=name, namespace="default", labels={"n": name}))
        )
    await kubectl("delete", "secret", "-l", "n in (a,b)")
    assert await kubectl("get", "secret", "-o", "name") == "secret/c\n"
    await kubectl("delete", "secret", "--all")
    assert await kubectl("get", "secret", "-o", "name") == ""


async def test_a_revision_is_neither_created_nor_changed_by_hand(kubectl) -> None:
    text = HELLO.replace("kind: Service", "kind: Revision")
    revision = yaml.safe_load(text)
    revision["spec"] = revision["spec"]["template"]["spec"]
    result = await kubectl.run("create", "-f", kubectl.file(json.dumps(revision)))
    assert "a Revision is created by changing the template" in result.err
    spec = msgspec.convert(revision["spec"], serving.RevisionSpec)
    meta = ObjectMeta(name="r", namespace="default", generation=1)
    await kubectl.put("Revision", serving.Revision(metadata=meta, spec=spec), GROUP)
    patch = '{"spec":{"containerConcurrency":3}}'
    assert (await kubectl.run("patch", "rev", "r", "--type=merge", "-p", patch)).code == 1


async def test_a_wrong_token_is_told_to_log_in(kubectl) -> None:
    file = kubectl.folder / "kubeconfig"
    file.write_text(file.read_text().replace("s3cret", "guess"))
    assert "You must be logged in to the server" in (await kubectl.run("get", "ksvc")).err
