"""The charts as Helm 4 renders them and as a real API server takes them."""

import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Any, Final

import kubernetes_validate
import pytest
import yaml

from edgewright_api.edgetarget import EdgeTarget
from edgewright_operator.cluster.resources import RESOURCES
from edgewright_operator.settings import PREFIX, Settings
from support.api_client import JSON
from support.chart_cluster import CHARTS, SYSTEM, VALUES, ChartCluster, chart_cluster, commands, settings_of

OLDEST_KUBERNETES: Final = "1.33"
ALL_CHARTS: Final = ("edgewright", "edgewright-crds")
NAMESPACES: Final = (SYSTEM, "edgewright-nodes")


def _helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [str(commands().helm), *arguments]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)


def _arguments(chart: str, **values: str) -> list[str]:
    base = VALUES if chart == "edgewright" else {}
    return [str(CHARTS / chart), *settings_of({**base, **values})]


def _render(chart: str, **values: str) -> str:
    done = _helm("template", chart, *_arguments(chart, **values), "-n", SYSTEM)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _objects(chart: str, **values: str) -> list[JSON]:
    return [o for o in yaml.safe_load_all(_render(chart, **values)) if o]


@pytest.fixture(scope="module")
def rendered() -> list[JSON]:
    return _objects("edgewright")


def _of(objects: Sequence[JSON], kind: str, name: str = "", namespace: str = "") -> JSON:
    found = [
        o
        for o in objects
        if o["kind"] == kind
        and name in ("", o["metadata"]["name"])
        and namespace in ("", o["metadata"].get("namespace", ""))
    ]
    assert len(found) == 1, f"{len(found)} of {kind} {name} {namespace}"
    return found[0]


@pytest.mark.parametrize("chart", ALL_CHARTS)
def test_lint(chart: str) -> None:
    done = _helm("lint", "--strict", *_arguments(chart))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("chart", ALL_CHARTS)
def test_two_renders_are_equal(chart: str) -> None:
    assert _render(chart) == _render(chart)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        pytest.param("image.repository", "", "/image/repository", id="no-image"),
        pytest.param("image.digest", "sha256:12", "/image/digest", id="short-digest"),
        pytest.param(
            "objectStore.endpoint", "store:8333", "/objectStore/endpoint", id="endpoint-without-scheme"
        ),
        pytest.param("objectStore.bucket", "My_Bucket", "/objectStore/bucket", id="bucket-name"),
        pytest.param("objectStore.prefix", "/models", "/objectStore/prefix", id="prefix-with-slash"),
        pytest.param(
            "objectStore.credentialsSecret.name", "", "/objectStore/credentialsSecret/name", id="no-secret"
        ),
        pytest.param("objectStore.accessKey", "AKIA", "accessKey", id="a-credential-as-value"),
        pytest.param("gateway.mode", "proxy", "/gateway/mode", id="mode"),
        pytest.param("gateway.url", "http://gateway.example", "/gateway/url", id="gateway-without-tls"),
        pytest.param("gateway.service.port", "70000", "/gateway/service/port", id="port"),
        pytest.param("build.concurrency", "0", "/build/concurrency", id="no-builds"),
        pytest.param("build.workDirSize", "10", "/build/workDirSize", id="size-without-unit"),
        pytest.param("logLevel", "info", "/logLevel", id="log-level"),
        pytest.param("rollout.removalDelaySeconds", "0", "/rollout/removalDelaySeconds", id="no-delay"),
        pytest.param("rollout.resyncSeconds", "1", "/rollout/resyncSeconds", id="resync-storm"),
        pytest.param("replicas", "2", "replicas", id="unknown-value"),
    ],
)
def test_the_schema_refuses(name: str, value: str, told: str) -> None:
    done = _helm("template", "edgewright", *_arguments("edgewright", **{name: value}))
    assert (done.returncode, told in done.stderr) == (1, True), done.stderr


def test_the_least_values_are_all_needed() -> None:
    for name in VALUES:
        given = settings_of({k: v for k, v in VALUES.items() if k != name})
        done = _helm("template", "edgewright", str(CHARTS / "edgewright"), *given)
        assert (done.returncode, name.replace(".", "/") in done.stderr) == (1, True), name


@pytest.mark.parametrize("chart", ALL_CHARTS)
def test_objects_are_valid(chart: str) -> None:
    for rendered_object in _objects(chart):
        if rendered_object["kind"] == "EdgeTarget":
            EdgeTarget.parse(rendered_object)
        else:
            kubernetes_validate.validate(rendered_object, OLDEST_KUBERNETES, strict=True)


def test_every_object_is_labelled_and_stays_in_its_namespaces(rendered: list[JSON]) -> None:
    for each in rendered:
        metadata = each["metadata"]
        assert metadata["labels"]["app.kubernetes.io/instance"] == "edgewright", metadata["name"]
        assert metadata.get("namespace", SYSTEM) in NAMESPACES, metadata["name"]
    assert "Secret" not in {o["kind"] for o in rendered}


def _rules(objects: Sequence[JSON]) -> Iterator[tuple[JSON, JSON]]:
    for role in objects:
        if role["kind"] in ("ClusterRole", "Role"):
            yield from ((role, rule) for rule in role["rules"])


def test_rbac_names_everything(rendered: list[JSON]) -> None:
    """No wildcard, no escalation, no finalizers, and Secrets in the operator's own namespace only."""
    kinds_of_power = {"escalate", "bind", "impersonate", "deletecollection"}
    for role, rule in _rules(rendered):
        name = role["metadata"]["name"]
        assert "*" not in (*rule["apiGroups"], *rule["resources"], *rule["verbs"]), name
        assert not kinds_of_power & set(rule["verbs"]), name
        assert not [r for r in rule["resources"] if r.endswith("/finalizers")], name
        if "secrets" in rule["resources"]:
            assert (role["kind"], role["metadata"].get("namespace")) == ("Role", SYSTEM)
            assert rule["verbs"] == ["create"] or rule["resourceNames"] == ["edgewright-gateway-tls"]


def _watched(rendered: Sequence[JSON]) -> set[tuple[str, str, str]]:
    """Return group, resource and namespace of what the operator may list and watch."""
    return {
        (group, resource, role["metadata"].get("namespace", ""))
        for role, rule in _rules(rendered)
        if role["metadata"]["name"] == "edgewright-operator" and {"list", "watch"} <= set(rule["verbs"])
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


def test_the_operator_may_watch_what_it_watches_and_no_more(rendered: list[JSON]) -> None:
    needed = {
        ("" if r.base == "/api/v1" else r.base.split("/")[2], r.plural, r.within) for r in RESOURCES.values()
    }
    by_kopf = {("apiextensions.k8s.io", "customresourcedefinitions", "")}
    assert _watched(rendered) == needed | by_kopf


def _writes(rendered: Sequence[JSON], role_name: str) -> set[str]:
    writing = {"create", "update", "patch", "delete"}
    return {
        resource
        for role, rule in _rules(rendered)
        if role["metadata"]["name"] == role_name and writing & set(rule["verbs"])
        for resource in rule["resources"]
    }


def test_one_writer_per_part(rendered: list[JSON]) -> None:
    """The operator writes no user's spec; nodes and operator share no part but EdgeNode's status."""
    operator, node = _writes(rendered, "edgewright-operator"), _writes(rendered, "edgewright-node")
    assert not operator & {"edgemodels", "edgedeployments", "edgetargets", "edgenodes"}
    assert operator & node == {"edgenodes/status"}


def test_the_catalogue_can_be_switched_off() -> None:
    assert not [
        o for o in _objects("edgewright", **{"catalogue.enabled": "false"}) if o["kind"] == "EdgeTarget"
    ]


def test_a_node_with_vnni_belongs_to_the_stronger_class(rendered: list[JSON]) -> None:
    avx2, vnni = (_of(rendered, "EdgeTarget", f"x86-64-{level}")["spec"] for level in ("avx2", "vnni"))
    assert vnni["priority"] > avx2["priority"]


def test_kinds_are_kept_unless_told_otherwise() -> None:
    kept = {bool(o["metadata"]["annotations"]) for o in _objects("edgewright-crds")}
    left = {bool(o["metadata"]["annotations"]) for o in _objects("edgewright-crds", keep="false")}
    assert (kept, left) == ({True}, {False})


def test_a_digest_wins_over_a_tag() -> None:
    digest = "sha256:" + "a" * 64
    deployment = _of(_objects("edgewright", **{"image.tag": "0.1.0", "image.digest": digest}), "Deployment")
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == f"edgewright/operator@{digest}"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChartCluster]:
    with chart_cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


def _pod(deployment: JSON) -> JSON:
    template = deployment["spec"]["template"]
    metadata = template["metadata"] | {"name": "operator", "namespace": SYSTEM}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


def test_the_pod_is_restricted(cluster: ChartCluster, rendered: list[JSON]) -> None:
    """A namespace that enforces the restricted Pod Security Standard takes the pod, without a warning."""
    levels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
    cluster.kubectl("label", "namespace", SYSTEM, "--overwrite", *(f"{k}={v}" for k, v in levels.items()))
    pods = f"/api/v1/namespaces/{SYSTEM}/pods?dryRun=All"

    answer = cluster.admin.call("POST", pods, _pod(_of(rendered, "Deployment")))
    assert (answer.code, answer.warnings) == (201, ()), answer.message

    lax = _pod(_of(rendered, "Deployment"))
    lax["spec"]["containers"][0]["securityContext"] = {}
    refused = cluster.admin.call("POST", pods, lax)
    assert (refused.code, "restricted" in refused.message) == (403, True), "the namespace enforces nothing"


@pytest.mark.parametrize("chart", ALL_CHARTS)
def test_the_api_server_takes_all_of_it(
    cluster: ChartCluster, chart: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    manifest = tmp_path_factory.mktemp(chart) / "manifest.yaml"
    manifest.write_text(_render(chart))
    said = cluster.kubectl(
        "apply", "--server-side", "--force-conflicts", "--dry-run=server", "-f", str(manifest)
    )
    assert "Warning" not in said


def test_the_policies_fail_closed(cluster: ChartCluster) -> None:
    policies = cluster.admin.must("GET", "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies")
    names = {p["metadata"]["name"]: p["spec"]["failurePolicy"] for p in policies["items"]}
    assert names == dict.fromkeys(
        (f"edgewright-node-{n}" for n in ("identity", "reachable", "registration")), "Fail"
    )


def test_upgrade_and_uninstall(cluster: ChartCluster) -> None:
    """An upgrade changes what its values say; uninstalling both charts keeps the kinds and their objects."""
    model = {
        "apiVersion": "edgewright.dev/v1alpha1",
        "kind": "EdgeNode",
        "metadata": {"name": "kept"},
        "spec": {},
    }
    cluster.admin.must("POST", "/apis/edgewright.dev/v1alpha1/edgenodes", model)

    notes = cluster.helm(
        "upgrade", "edgewright", *_arguments("edgewright", **{"build.concurrency": "3"}), "-n", SYSTEM
    )
    assert "https://edgewright-gateway.edgewright-system.svc:8443" in notes
    path = f"/apis/apps/v1/namespaces/{SYSTEM}/deployments/edgewright-operator"
    assert _env(cluster.admin.must("GET", path))["EDGEWRIGHT_OPERATOR_BUILD_CONCURRENCY"] == "3"

    for release in ("edgewright", "edgewright-crds"):
        cluster.helm("uninstall", release, "-n", SYSTEM)
    assert cluster.admin.call("GET", path).code == 404
    assert cluster.admin.call("GET", "/apis/edgewright.dev/v1alpha1/edgenodes/kept").code == 200


def _env(deployment: JSON) -> dict[str, Any]:
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    return {e["name"]: e.get("value") for e in container["env"]}


def test_the_operator_understands_its_variables(rendered: list[JSON]) -> None:
    """The chart sets every setting but those for running outside of a cluster and for other builders."""
    env = _env(_of(rendered, "Deployment"))
    secrets = {name: "x" for name, value in env.items() if value is None}
    assert set(secrets) == {f"EDGEWRIGHT_OPERATOR_S3_{key}_KEY" for key in ("ACCESS", "SECRET")}

    settings = Settings.from_env(env | secrets)
    assert settings.s3_bucket == "models"
    left_out = {f.name for f in fields(Settings) if PREFIX + f.name.upper() not in env}
    assert left_out == {"api_server", "api_ca", "api_token", "build_command", "workers"}
