"""The cache hears of things twice, late and out of order; which keys an event makes dirty."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewright_operator.cluster.cache import Cache, Store
from edgewright_operator.cluster.resources import OWN_WATCHES, RESOURCES, USER_KINDS
from edgewright_operator.cluster.routes import affected
from edgewright_operator.planning.objects import ClusterNode, EdgeNode, Key, Kind, Meta, NodeStatus
from edgewright_operator.settings import Settings, SettingsError, host_port
from support.operator_builders import (
    AVX2,
    assignment,
    edge_deployment,
    edge_model,
    edge_target,
    entry,
    revision,
)


def node(name: str = "a", version: int = 1, **labels: str) -> ClusterNode:
    return ClusterNode(Meta(name=name, resource_version=str(version), labels=labels))


def store() -> tuple[Store[ClusterNode], list[tuple[Any, Any]]]:
    heard: list[tuple[Any, Any]] = []
    return Store(Kind.CLUSTER_NODE, lambda _, old, new: heard.append((old, new))), heard


def test_an_event_is_taken_in_once() -> None:
    kept, heard = store()
    kept.apply(node(version=2))
    kept.apply(node(version=2))
    kept.apply(node(version=1))
    assert heard == [(None, node(version=2))]


def test_a_list_removes_what_it_lacks_but_nothing_that_is_newer() -> None:
    kept, heard = store()
    kept.apply(node("old", 3))
    kept.apply(node("new", 9))
    kept.replace([node("listed", 4)], version=5)
    assert {o.metadata.name for o in kept.all()} == {"new", "listed"}
    assert heard[-1] == (node("old", 3), None)
    assert kept.synced


def test_what_was_deleted_after_a_list_was_taken_stays_deleted() -> None:
    kept, _ = store()
    kept.apply(node(version=1))
    kept.remove(node(version=7))
    kept.replace([node(version=1)], version=5)
    assert len(kept) == 0
    kept.apply(node(version=8))  # made anew under the same name
    assert len(kept) == 1


steps = st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=12)


@settings(deadline=None)
@given(steps, st.integers(0, 12), st.integers(0, 12))
def test_events_and_a_list_in_any_order_end_at_the_truth(
    history: list[tuple[str, bool]], listed_at: int, heard_first: int
) -> None:
    """A list as of some version may arrive before or after any of the events."""
    at = min(listed_at, len(history))
    kept, _ = store()

    def hear(index: int) -> None:
        name, deleted = history[index]
        (kept.remove if deleted else kept.apply)(node(name, index + 1))

    for index in range(min(heard_first, len(history))):
        hear(index)
    kept.replace(state_at(history, at).values(), version=at)
    for index in range(min(heard_first, at), len(history)):
        hear(index)
    assert {o.metadata.name: o for o in kept.all()} == state_at(history, len(history))


def state_at(history: list[tuple[str, bool]], version: int) -> dict[str, ClusterNode]:
    state: dict[str, ClusterNode] = {}
    for index, (name, deleted) in enumerate(history[:version]):
        state.pop(name, None)
        if not deleted:
            state[name] = node(name, index + 1)
    return state


def filled() -> Cache:
    cache = Cache(lambda *_: None)
    cache.models.apply(edge_model())
    cache.deployments.apply(edge_deployment())
    cache.deployments.apply(edge_deployment("other", model={"name": "other", "version": "1.0.0"}))
    cache.assignments.apply(assignment(entry()))
    return cache


MODEL = Key(Kind.MODEL, "vision", "digits")
DIGITS = Key(Kind.DEPLOYMENT, "vision", "digits")
OTHER = Key(Kind.DEPLOYMENT, "vision", "other")
NODE = Key(Kind.NODE, "", "node-a")
EDGE_NODE = EdgeNode(Meta(name="node-a"), NodeStatus(inventory=AVX2))
BARE = EdgeNode(Meta(name="node-a"))


@pytest.mark.parametrize(
    ("kind", "old", "new", "keys"),
    [
        pytest.param(Kind.MODEL, None, edge_model(), [MODEL, DIGITS], id="model"),
        pytest.param(
            Kind.REVISION,
            None,
            revision(),
            [Key(Kind.REVISION, "vision", revision().metadata.name), MODEL, DIGITS],
            id="revision",
        ),
        pytest.param(Kind.DEPLOYMENT, edge_deployment(), None, [DIGITS, NODE], id="deployment-gone"),
        pytest.param(
            Kind.DEPLOYMENT, edge_deployment(), edge_deployment(), [DIGITS], id="deployment-changed"
        ),
        pytest.param(Kind.TARGET, None, edge_target(), [MODEL], id="target"),
        pytest.param(Kind.NODE, BARE, EDGE_NODE, [NODE, DIGITS, OTHER], id="inventory"),
        pytest.param(Kind.NODE, BARE, BARE, [NODE], id="nothing-that-matters"),
        pytest.param(
            Kind.ASSIGNMENT,
            None,
            assignment(entry("gone")),
            [NODE, Key(Kind.DEPLOYMENT, "vision", "gone")],
            id="told",
        ),
        pytest.param(
            Kind.ASSIGNMENT,
            assignment(entry("gone", served_name="digits")),
            assignment(),
            [NODE, Key(Kind.DEPLOYMENT, "vision", "gone"), DIGITS, OTHER],
            id="a-name-is-free",
        ),
        pytest.param(Kind.CLUSTER_NODE, node(), node(site="x"), [DIGITS, OTHER], id="labels"),
        pytest.param(Kind.CLUSTER_NODE, node(), node(), [], id="same-labels"),
    ],
)
def test_affected(kind: Kind, old: Any, new: Any, keys: list[Key]) -> None:
    assert sorted(affected(filled(), kind, old, new)) == sorted(keys)


def test_every_kind_is_listed_and_heard_of_in_one_way() -> None:
    assert set(RESOURCES) == set(Kind) == {*OWN_WATCHES, *USER_KINDS}
    assert set(Cache(lambda *_: None).stores()) == set(Kind)
    assert (
        RESOURCES[Kind.LEASE].collection == "/apis/coordination.k8s.io/v1/namespaces/edgewright-nodes/leases"
    )
    path = RESOURCES[Kind.MODEL].path("vision", "digits", "status")
    assert path == "/apis/edgewright.dev/v1alpha1/namespaces/vision/edgemodels/digits/status"


REQUIRED = {
    f"EDGEWRIGHT_OPERATOR_{name}": "x"
    for name in ("S3_ENDPOINT", "S3_BUCKET", "S3_ACCESS_KEY", "S3_SECRET_KEY", "GATEWAY_URL")
}


def test_settings_have_defaults_and_types() -> None:
    env = REQUIRED | {"EDGEWRIGHT_OPERATOR_RESYNC_SECONDS": "30", "PATH": "ignored"}
    read = Settings.from_env(env)
    assert (read.resync_seconds, read.namespace, read.s3_bucket) == (30, "edgewright-system", "x")
    connection = read.connection({"KUBERNETES_SERVICE_HOST": "fd00::1"})
    assert connection.server == "https://[fd00::1]:443"


@pytest.mark.parametrize(
    ("env", "says"),
    [
        pytest.param({}, "not set: EDGEWRIGHT_OPERATOR_GATEWAY_URL", id="missing"),
        pytest.param(REQUIRED | {"EDGEWRIGHT_OPERATOR_RESYNK": "1"}, "RESYNK", id="unknown"),
        pytest.param(REQUIRED | {"EDGEWRIGHT_OPERATOR_WORKERS": "0"}, "at least 1", id="no-worker"),
        pytest.param(REQUIRED | {"EDGEWRIGHT_OPERATOR_WORKERS": "two"}, "'two'", id="no-number"),
    ],
)
def test_settings_that_can_not_be_meant_are_refused(env: dict[str, str], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        Settings.from_env(env)


def test_addresses_to_listen_on() -> None:
    assert [host_port(t) for t in ("0.0.0.0:80", "[::]:80", ":80")] == [("0.0.0.0", 80), ("::", 80), ("", 80)]
    with pytest.raises(SettingsError):
        host_port("nowhere")
