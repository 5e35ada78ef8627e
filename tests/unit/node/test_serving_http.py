"""Framing, limits and order of answers, on a connection without a socket."""

import asyncio
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright_node.serving import errors
from edgewright_node.serving.exchange import STATUS
from edgewright_node.serving.http import Limits
from support.serving_builders import connect, feed, infer_body, make_hub, make_model, post, statuses

GET = b"GET /v2/health/live HTTP/1.1\r\n\r\n"
SMALL = replace(Limits(), head_bytes=300, body_bytes=200_000, held_bytes=250_000)


def leaves(base: type) -> list[type]:
    below: list[type] = base.__subclasses__()
    return [leaf for each in below for leaf in leaves(each)] if below else [base]


def test_every_error_has_a_status_and_a_reason_of_its_own() -> None:
    assert set(STATUS) == set(leaves(errors.RequestError))
    reasons = [leaf.__dict__["reason"] for leaf in leaves(errors.ServingError)]
    assert len(set(reasons)) == len(reasons)


def test_pipelined_requests_are_answered_in_order_however_the_bytes_arrive() -> None:
    content = GET + post(infer_body([[1, 2]], id="first")) + post(b"x") + post(infer_body([[3, 4]]))
    chunked = infer_body([[5, 6]])
    content += b"POST /v2/models/digits/infer HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    content += b"%x\r\n%b\r\n0\r\n\r\n" % (len(chunked), chunked) + GET
    expected = None
    for piece in (1 << 20, 1, 2, 3, 7, 50, 97):
        connection, transport = connect(make_hub(make_model()))
        feed(connection, content, piece=piece)
        expected = expected or bytes(transport.written)
        assert statuses(transport.written) == [200, 200, 400, 200, 200, 200]
        assert transport.written == expected


@given(st.binary(max_size=400), st.integers(1, 64))
def test_no_bytes_break_the_server(content: bytes, piece: int) -> None:
    hub = make_hub(make_model())
    connection, transport = connect(hub)
    feed(connection, GET + content, piece=piece)
    answers = statuses(transport.written)
    assert answers[0] == 200
    assert all(status < 500 for status in answers)
    connection.connection_lost(None)
    assert (hub.held_bytes, len(hub.connections)) == (0, 0)


@pytest.mark.parametrize("piece", [1 << 20, 1000])
def test_a_large_body_is_received_in_place_and_released(piece: int) -> None:
    hub = make_hub(make_model())
    connection, transport = connect(hub)
    values = np.ones((10_000, 2), np.float32)
    feed(connection, post(infer_body(values.tolist())) * 2 + GET, piece=piece)
    assert statuses(transport.written) == [200, 200, 200]
    assert hub.held_bytes == 0


@pytest.mark.parametrize(
    ("content", "status"),
    [
        pytest.param(b"GET /v2 HTTP/1.1\r\nA: " + b"b" * 400, 431, id="header-without-end"),
        pytest.param(b"GET /" + b"b" * 400, 431, id="target-without-end"),
        pytest.param(b"GET /v2 HTTP/1.1\r\n" + b"A: b\r\n" * 100 + b"\r\n", 431, id="many-headers"),
        pytest.param(b"POST /v2 HTTP/1.1\r\nContent-Length: 200001\r\n\r\n", 413, id="long-body"),
        pytest.param(
            b"POST /v2 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
            + b"8000\r\n"
            + b"x" * 0x8000
            + b"\r\n"
            + b"30d41\r\n"
            + b"x" * 200_001,
            413,
            id="long-chunked-body",
        ),
        pytest.param(b"FETCH / HTTP/1.1\r\n\r\n", 405, id="unknown-method"),
        pytest.param(b"GET / HTTP/9\r\n\r\n", 400, id="unknown-version"),
        pytest.param(
            b"POST /v2 HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: x\r\nContent-Length: 1\r\n\r\n1",
            400,
            id="upgrade",
        ),
    ],
)
def test_limits(content: bytes, status: int) -> None:
    connection, transport = connect(make_hub(make_model(), limits=SMALL))
    feed(connection, content, piece=256)
    assert statuses(transport.written) == [status]
    assert transport.ended == "eof"  # lingering: what the client still sends must not reset the answer
    feed(connection, GET)
    assert statuses(transport.written) == [status]


def test_an_upgrade_is_ignored_and_the_request_answered() -> None:
    connection, transport = connect(make_hub(make_model()))
    feed(connection, b"GET /v2 HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n")
    assert statuses(transport.written) == [200]
    assert transport.ended == "closed"


def test_large_bodies_share_a_budget() -> None:
    hub = make_hub(make_model(), limits=SMALL)
    first, _ = connect(hub)
    second, transport = connect(hub)
    head = b"POST /v2/models/digits/infer HTTP/1.1\r\nContent-Length: 190000\r\n\r\n"
    feed(first, head + b"x" * 70_000)
    feed(second, head + b"x" * 70_000)
    assert statuses(transport.written) == [503]
    first.connection_lost(None)
    second.connection_lost(None)
    assert hub.held_bytes == 0


def test_connections_are_limited() -> None:
    hub = make_hub(make_model(), limits=replace(Limits(), connections=1))
    connect(hub)
    _, transport = connect(hub)
    assert statuses(transport.written) == [503]


def test_100_continue_is_said_once_and_only_when_awaited() -> None:
    body = infer_body([[1, 2]])
    whole = post(body, "/v2/models/digits/infer", "Expect: 100-continue")
    connection, transport = connect(make_hub(make_model()))
    feed(connection, whole[: -len(body)])
    assert transport.written == b"HTTP/1.1 100 Continue\r\n\r\n"
    feed(connection, body)
    assert statuses(transport.written) == [100, 200]
    feed(connection, whole)
    assert statuses(transport.written) == [100, 200, 200]


def test_slow_clients_are_told_and_idle_ones_are_not() -> None:
    limits = Limits()
    hub = make_hub(make_model())
    slow, slow_transport = connect(hub)
    idle, idle_transport = connect(hub)
    feed(slow, GET[:-1])
    feed(idle, GET)
    for _ in range(limits.head_seconds + 2):
        hub.sweep()
    assert statuses(slow_transport.written) == [408]
    assert idle_transport.ended == ""
    for _ in range(limits.idle_seconds + 2):
        hub.sweep()
    assert (slow_transport.ended, idle_transport.ended) == ("aborted", "closed")


def test_a_client_that_does_not_read_is_cut_off() -> None:
    hub = make_hub(make_model())
    connection, transport = connect(hub)
    connection.pause_writing()
    feed(connection, GET * 3)
    assert (bytes(transport.written), transport.reading) == (b"", False)
    connection.resume_writing()
    assert statuses(transport.written) == [200, 200, 200]
    assert transport.reading
    connection.pause_writing()
    for _ in range(hub.limits.write_seconds + 1):
        hub.sweep()
    assert transport.ended == "aborted"


@pytest.mark.parametrize(
    "line", [b"GET /v2 HTTP/1.0\r\n\r\n", b"GET /v2 HTTP/1.1\r\nConnection: close\r\n\r\n"]
)
def test_the_last_request_closes(line: bytes) -> None:
    connection, transport = connect(make_hub(make_model()))
    feed(connection, line + GET)
    assert statuses(transport.written) == [200]
    assert transport.ended == "closed"


def test_draining_closes_after_the_answer() -> None:
    hub = make_hub(make_model())
    connection, transport = connect(hub)
    hub.draining = True
    feed(connection, GET)
    assert b"Connection: close" in transport.written
    assert transport.ended == "closed"


async def test_a_slow_inference_holds_back_its_own_connection_only() -> None:
    model = make_model(row_seconds=1.0)
    hub = make_hub(model, loop=asyncio.get_running_loop())
    slow, slow_transport = connect(hub)
    quick, quick_transport = connect(hub)
    feed(slow, post(infer_body([[1, 2]])) + GET)
    feed(quick, GET)
    assert (bytes(slow_transport.written), slow_transport.reading) == (b"", False)
    assert statuses(quick_transport.written) == [200]
    await asyncio.sleep(0.01)
    assert statuses(slow_transport.written) == [200, 200]
    assert slow_transport.reading


async def test_a_client_that_leaves_during_its_inference_harms_nothing() -> None:
    model = make_model(row_seconds=1.0)
    hub = make_hub(model, loop=asyncio.get_running_loop())
    connection, _ = connect(hub)
    feed(connection, post(infer_body([[1, 2]])))
    connection.connection_lost(None)
    await asyncio.sleep(0.01)
    assert model.running == 0


def test_failures_are_counted_as_ours_and_bad_requests_are_not() -> None:
    model = make_model()
    connection, transport = connect(make_hub(model))
    feed(connection, post(infer_body([[666, 0]])) + post(b"{}") + post(infer_body([[1, 2]])))
    assert statuses(transport.written) == [500, 400, 200]
    assert (model.stats.requests, model.stats.failures, sum(model.stats.buckets)) == (3, 1, 1)
