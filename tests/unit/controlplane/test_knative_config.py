"""ConfigMaps become settings; a bad value is refused with its reason (§13)."""

import msgspec
import pytest

from controlplane.knative_config import NAMES, KnativeConfig, host, parse, tag_name
from dataplane.errors import ConfigFault


def test_without_config_maps_everything_has_upstreams_default():
    config = KnativeConfig()
    assert config == parse({})
    scaler = config.autoscaler
    assert (scaler.target_fraction, scaler.concurrency_target, scaler.rps_target) == (0.7, 100, 200)
    assert (scaler.target_burst_capacity, scaler.stable_window_s, scaler.scale_to_zero_grace_s) == (211, 60, 30)
    defaults = config.defaults
    assert (defaults.timeout_seconds, defaults.max_timeout_seconds, defaults.container_concurrency_max) == (
        300,
        600,
        1000,
    )
    assert config.gc.min_non_active_revisions == 20
    assert config.network.tag_template == "{{.Tag}}-{{.Name}}"
    assert config.deployment.progress_deadline_s == 600


def test_init_containers_and_the_domain_are_the_documented_deviations():
    config = KnativeConfig()
    assert config.features.enabled("kubernetes.podspec-init-containers")
    assert config.features.enabled("multi-container")
    assert config.features.enabled("kubernetes.podspec-volumes-emptydir")
    assert not config.features.allowed("kubernetes.podspec-affinity")
    assert config.domain.lookup({}) == "localhost"
    assert KnativeConfig.with_domain("example.org") == parse({}, domain="example.org")


def test_values_are_read_and_the_example_is_not():
    config = parse(
        {
            "config-autoscaler": {
                "_example": "stable-window: nonsense",
                "container-concurrency-target-percentage": "55",
                "stable-window": "2m",
                "enable-scale-to-zero": "false",
                "target-burst-capacity": "-1",
                "unknown-key": "is ignored",
            },
            "config-defaults": {"revision-timeout-seconds": "120", "revision-cpu-request": "400m"},
            "config-features": {"MULTI-CONTAINER": "x", "multi-container": "disabled", "no-such": "Enabled"},
            "config-gc": {"max-non-active-revisions": "disabled", "retain-since-create-time": "10h"},
            "config-network": {
                "rolloutDuration": "20",
                "ingress-class": "a",
                "ingress.class": "b",
                "auto-tls": "Enabled",
            },
            "config-observability": {"metrics-protocol": "prometheus", "tracing-sampling-rate": "0.5"},
            "config-deployment": {"progress-deadline": "1m", "registries-skipping-tag-resolving": "a.local, b.local"},
        }
    )
    assert config.autoscaler.target_fraction == 0.55
    assert config.autoscaler.stable_window_s == 120
    assert not config.autoscaler.enable_scale_to_zero
    assert config.autoscaler.target_burst_capacity == -1
    assert config.defaults.response_start_timeout_seconds == 120, "follows revision-timeout-seconds"
    assert config.defaults.cpu_request == "400m"
    assert not config.features.allowed("multi-container")
    assert config.gc.max_non_active_revisions is None
    assert config.gc.retain_since_create_s == 36_000
    assert config.network.rollout_duration_s == 20
    assert config.network.ingress_class == "a", "the new spelling wins"
    assert config.network.external_domain_tls
    assert config.observability.metrics_protocol == "prometheus"
    assert config.deployment.progress_deadline_s == 60
    assert config.deployment.registries_skipping_tag_resolving == {"a.local", "b.local"}


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("config-autoscaler", {"stable-window": "5s"}, "stable-window = 5s, must be in [6s; 1h0m0s] range"),
        ("config-autoscaler", {"stable-window": "6500ms"}, "stable-window = 6.5s, must be specified with"),
        ("config-autoscaler", {"stable-window": "x"}, 'failed to parse "stable-window": time: invalid duration "x"'),
        ("config-autoscaler", {"max-scale-up-rate": "1"}, "max-scale-up-rate = 1, must be greater than 1.0"),
        ("config-autoscaler", {"max-scale-down-rate": "NaN"}, "max-scale-down-rate = nan, must be greater than 1.0"),
        ("config-autoscaler", {"container-concurrency-target-percentage": "0"}, "is outside of valid range of (0, 100"),
        ("config-autoscaler", {"container-concurrency-target-default": "0.001"}, "can't be less than 0.01"),
        ("config-autoscaler", {"requests-per-second-target-default": "0"}, "must be at least 0.01, was: 0"),
        ("config-autoscaler", {"panic-window-percentage": "101"}, "panic-window-percentage = 101, must be in [1, 100]"),
        ("config-autoscaler", {"activator-capacity": "0.5"}, "activator-capacity = 0.5, must be at least 1"),
        ("config-autoscaler", {"target-burst-capacity": "-2"}, "must be either non-negative or -1 (for unlimited)"),
        ("config-autoscaler", {"initial-scale": "0"}, "initial-scale = 0, must be at least 0 (or at least 1 when"),
        ("config-autoscaler", {"scale-to-zero-grace-period": "0s"}, "grace-period must be positive, was: 0s"),
        ("config-autoscaler", {"scale-down-delay": "1500ms"}, "scale-down-delay = 1.5s, must be specified"),
        ("config-autoscaler", {"max-scale-limit": "5"}, "max-scale = 0, must be in [1, max-scale-limit(5)] range"),
        ("config-autoscaler", {"min-scale": "3", "max-scale": "2"}, "min-scale (3) must be less than max-scale (2)"),
        ("config-autoscaler", {"max-scale": "99999999999"}, "value out of range"),
        ("config-defaults", {"revision-timeout-seconds": "700"}, "greater than max-revision-timeout-seconds (600)"),
        ("config-defaults", {"revision-idle-timeout-seconds": "400"}, "greater than revision-timeout-seconds (300)"),
        ("config-defaults", {"container-concurrency": "2000"}, "expected 0 <= 2000 <= 1000: container-concurrency"),
        ("config-defaults", {"container-name-template": "{{.Nope}}"}, "is not supported here"),
        ("config-defaults", {"revision-cpu-limit": "much"}, 'parse "revision-cpu-limit": quantities must match'),
        ("config-deployment", {"progress-deadline": "1500ms"}, "progress-deadline must be rounded to a whole second"),
        ("config-deployment", {"default-affinity-type": "x"}, 'unsupported default-affinity-type value: "x"'),
        ("config-deployment", {"runtime-class-name": "- a"}, "runtime-class-name must be a YAML mapping"),
        ("config-network", {"domain-template": "{{.Foo}}"}, "is not supported here"),
        ("config-network", {"http-protocol": "maybe"}, 'unsupported value "maybe"'),
        ("config-network", {"rollout-duration": "-1"}, "rollout-duration must be a positive integer, but was -1"),
        ("config-network", {"system-internal-tls": "x"}, 'system-internal-tls with value: "x" is not supported'),
        ("config-gc", {"min-non-active-revisions": "-1"}, "min-non-active-revisions must be non-negative, was: -1"),
        ("config-gc", {"max-non-active-revisions": "3"}, "revisions(20) must be <= max-non-active-revisions(3)"),
        ("config-gc", {"retain-since-create-time": "-1s"}, "must be non-negative"),
        ("config-domain", {"Not A Domain": ""}, 'invalid domain name "Not A Domain"'),
        ("config-domain", {"example.com": "selector: 1"}, "example.com selector must map labels to strings"),
        ("config-domain", {"example.com": "[" * 9000}, "cannot be parsed, please check the format"),
        ("config-observability", {"tracing-sampling-rate": "2"}, "tracing-sampling-rate = 2, must be in [0, 1]"),
    ],
)  # fmt: skip
def test_a_bad_value_is_refused_and_says_which_and_why(name, data, reason):
    with pytest.raises(ConfigFault) as caught:
        parse({name: data})
    assert str(caught.value).startswith(f"{name}: ")
    assert reason in str(caught.value)


def test_bounds_themselves_are_allowed():
    config = parse(
        {
            "config-gc": {
                "min-non-active-revisions": "0",
                "max-non-active-revisions": "0",
                "retain-since-create-time": "0s",
            },
            "config-autoscaler": {
                "stable-window": "1h",
                "panic-window-percentage": "100",
                "max-scale": "3",
                "min-scale": "3",
                "max-scale-limit": "3",
                "container-concurrency-target-percentage": "1",
                "activator-capacity": "1",
                "target-burst-capacity": "0",
            },
            "config-defaults": {
                "revision-timeout-seconds": "600",
                "container-concurrency": "1",
                "container-concurrency-max-limit": "1",
                "revision-idle-timeout-seconds": "600",
            },
            "config-observability": {"tracing-sampling-rate": "1"},
        }
    )
    assert config.gc.max_non_active_revisions == 0
    assert config.gc.retain_since_create_s == 0
    assert config.autoscaler.target_fraction == 1


def test_every_config_map_name_has_its_struct():
    of_eventing = ["brokers"]
    assert [name.removeprefix("config-") for name in NAMES] + of_eventing == [
        field.name for field in msgspec.structs.fields(KnativeConfig)
    ]


def test_the_most_specific_selector_gives_the_domain_and_ties_go_to_the_smallest():
    domain = parse(
        {
            "config-domain": {
                "z.example.com": "selector: {app: a}",
                "b.example.com": "selector: {app: a}",
                "best.example.com": "selector:\n  app: a\n  tier: front\n",
                "example.com": "",
            }
        }
    ).domain
    assert domain.lookup({}) == "example.com"
    assert domain.lookup({"app": "a"}) == "b.example.com"
    assert domain.lookup({"app": "a", "tier": "front"}) == "best.example.com"
    assert domain.lookup({"networking.knative.dev/visibility": "cluster-local"}) == "svc.cluster.local"


def test_a_config_domain_without_default_keeps_ours():
    assert parse({"config-domain": {"a.com": "selector: {x: z}"}}, domain="here.test").domain.lookup({}) == "here.test"


def test_hosts_follow_the_templates():
    config = KnativeConfig()
    assert host("hello", "default", "localhost", {}, {}, config) == "hello.default.localhost"
    assert (
        host(tag_name("blue", "hello", config), "default", "localhost", {}, {}, config)
        == "blue-hello.default.localhost"
    )
    assert tag_name("", "hello", config) == "hello"
    custom = parse({"config-network": {
        "domain-template": '{{.Name}}.{{index .Annotations "team"}}.{{.Domain}}', "tag-template": "{{.Name}}-{{.Tag}}",
    }})  # fmt: skip
    assert host("a", "ns", "x.org", {}, {"team": "red"}, custom) == "a.red.x.org"
    assert tag_name("t", "a", custom) == "a-t"
    private = {"networking.knative.dev/visibility": "cluster-local"}
    assert host("a", "ns", "svc.cluster.local", private, {}, custom) == "a.ns.svc.cluster.local", "stock template"


@pytest.mark.parametrize("name", ["A", "a_b", "", "x" * 64])
def test_a_host_that_is_no_domain_name_is_a_fault(name):
    with pytest.raises(ConfigFault, match="domain name error: invalid domain name"):
        host(name, "ns", "example.com", {}, {}, KnativeConfig())
