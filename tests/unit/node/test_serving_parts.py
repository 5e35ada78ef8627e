"""The server's smaller decisions: paths, which model answers and where, metrics, settings."""

from pathlib import Path

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from edgewright_node.serving import api, metrics, settings
from edgewright_node.serving.api import Kind, Route
from edgewright_node.serving.errors import ModelNotReady, NotFound, ServedNameTaken
from support.serving_builders import DoublingEngine, infer_body, make_hub, make_model, make_plane

ROOT = {"EDGEWRIGHT_SERVER_ROOT": "/node", "EDGEWRIGHT_SERVER_HTTP": "[::1]:8080"}


@pytest.mark.parametrize(
    ("target", "route"),
    [
        (b"/v2", Route(Kind.SERVER)),
        (b"/v2?verbose=1", Route(Kind.SERVER)),
        (b"/v2/models/a", Route(Kind.MODEL, "a")),
        (b"/v2/models/a%2Fb/infer", Route(Kind.INFER, "a/b")),
        (b"/v2/models/a/versions/1.0.0/infer", Route(Kind.INFER, "a", "1.0.0")),
        (b"/v2/models/a/versions/1.0.0", Route(Kind.MODEL, "a", "1.0.0")),
        (b"/v2/models/versions/ready", Route(Kind.MODEL_READY, "versions")),
    ],
)
def test_paths(target: bytes, route: Route) -> None:
    assert api.parse(target) == route


@pytest.mark.parametrize(
    "target",
    [b"", b"*", b"/", b"/v2/models", b"/v2/models/", b"/v2/models/a/versions", b"/v2/models/a/x", b"\xff"],
)
def test_other_paths_are_not_found(target: bytes) -> None:
    with pytest.raises(NotFound):
        api.parse(target)


def test_routes_are_kept_bounded() -> None:
    found = make_hub(make_model()).api
    for n in range(5000):
        found.route(b"GET", b"/v2/models/m%d" % n)
    assert len(found.routes) <= 1024


def test_a_model_that_is_awaited_is_not_ready_and_another_is_not_found() -> None:
    plane = make_plane(make_model())
    plane.awaited = frozenset({"later"})
    with pytest.raises(ModelNotReady):
        plane.find("later", None)
    with pytest.raises(NotFound):
        plane.find("never", None)
    with pytest.raises(NotFound):
        plane.find("digits", "2.0.0")
    assert plane.find("digits", "1.0.0").info.model == "digits"


def test_a_swap_frees_the_old_model_after_its_last_answer() -> None:
    old, new = DoublingEngine(), DoublingEngine()
    before, after = make_model(engine=old), make_model(engine=new)
    plane = make_plane(before)
    before.running = 1
    plane.put(after)
    assert (plane.find("digits", None), old.closed, after.stats.swaps) == (after, False, 1)
    plane._release(before)
    assert (old.closed, new.closed) == (True, False)


def test_a_name_belongs_to_the_deployment_that_has_it() -> None:
    plane = make_plane(make_model())
    with pytest.raises(ServedNameTaken):
        plane.put(make_model(deployment="vision/other"))


@pytest.mark.parametrize(
    ("row_seconds", "rows", "quick"), [(1e-4, 1, True), (1e-4, 50, False), (2e-3, 1, False)]
)
def test_long_inferences_leave_the_loop(row_seconds: float, rows: int, quick: bool) -> None:
    model = make_model(row_seconds=row_seconds)
    decoded = model.codec.decode(infer_body(np.ones((rows, 2)).tolist()), None)
    assert make_plane(model).is_quick(model, decoded) is quick


def test_metrics_are_prometheus_text_and_explain_themselves() -> None:
    stats = metrics.ModelStats(requests=3, failures=1)
    for seconds in (10e-6, 70e-6, 99.0):
        stats.observe(seconds)
    info = metrics.ModelInfo('a"b\\c\nd', "1.0.0", "vision/digits", "sha256:1", "sha256:2")
    http = metrics.HttpStats(connections=2, errors={404: 5})
    families = {f.name: f for f in text_string_to_metric_families(metrics.render([(info, stats)], http))}
    samples = {(s.name, s.labels.get("le")): s.value for f in families.values() for s in f.samples}
    duration = "edgewright_server_request_duration_seconds"
    assert samples[f"{duration}_bucket", "5e-05"] == 1
    assert samples[f"{duration}_bucket", "0.0001"] == 2
    assert samples[f"{duration}_bucket", "+Inf"] == samples[f"{duration}_count", None] == 3
    assert samples["edgewright_server_requests_total", None] == 3
    assert samples["edgewright_server_error_responses_total", None] == 5
    assert families["edgewright_server_model_info"].samples[0].labels["model"] == info.model
    assert all(f.documentation for f in families.values())


def test_settings() -> None:
    found = settings.from_env(ROOT | {"EDGEWRIGHT_SERVER_UDS": "/run/s.sock", "PATH": "/bin"})
    assert found == settings.ServerSettings(
        root=Path("/node"), server_id="server", host="::1", port=8080, uds=Path("/run/s.sock")
    )


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"EDGEWRIGHT_SERVER_ROOT": ""}, "_ROOT"),
        ({"EDGEWRIGHT_SERVER_HTTP": ""}, "_UDS"),
        ({"EDGEWRIGHT_SERVER_HTTP": "8080"}, "_HTTP"),
        ({"EDGEWRIGHT_SERVER_HTTP": "host:99999"}, "_HTTP"),
        ({"EDGEWRIGHT_SERVER_THREADS": "0"}, "_THREADS"),
        ({"EDGEWRIGHT_SERVER_THREADS": "many"}, "_THREADS"),
        ({"EDGEWRIGHT_SERVER_ID": "../x"}, "_ID"),
        ({"EDGEWRIGHT_SERVER_THREAD": "1"}, "_THREAD"),
    ],
)
def test_a_wrong_setting_is_named(changes: dict[str, str], named: str) -> None:
    with pytest.raises(settings.SettingsInvalid, match=named):
        settings.from_env(ROOT | changes)
