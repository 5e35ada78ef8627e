"""Tokens: only a node's own token names a node, and an answer is remembered for a minute."""

from collections.abc import Mapping
from typing import Any

import pytest

from edgewright_operator.gateway.tokens import (
    AUDIENCE,
    NODE_NAME,
    InvalidTokenError,
    NotANodeError,
    TokenCache,
    node_of,
)

USER = "system:serviceaccount:edgewright-system:edgewright-node"
USERS = frozenset({USER})


def status(**changes: Any) -> dict[str, Any]:
    user = {"username": USER, "extra": {NODE_NAME: ["edge-1"]}} | changes.pop("user", {})
    return {"authenticated": True, "audiences": [AUDIENCE], "user": user} | changes


def test_a_nodes_token_names_it() -> None:
    assert node_of(status(), USERS) == "edge-1"


@pytest.mark.parametrize(
    ("seen", "error"),
    [
        ({}, InvalidTokenError),
        (status(authenticated=False), InvalidTokenError),
        (status(authenticated="true"), InvalidTokenError),
        (status(audiences=["https://kubernetes.default.svc"]), InvalidTokenError),
        (status(user={"username": "system:serviceaccount:vision:default"}), NotANodeError),
        (status(user={"extra": {}}), NotANodeError),
        (status(user={"extra": {NODE_NAME: []}}), NotANodeError),
        (status(user={"extra": {NODE_NAME: [""]}}), NotANodeError),
        (status(user={"extra": {NODE_NAME: ["edge-1", "edge-2"]}}), NotANodeError),
    ],
)
def test_everything_else_names_none(seen: Mapping[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        node_of(seen, USERS)


class Reviewer:
    """Answers as an API server does that knows one token."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.known = {"good": status()}

    async def __call__(self, token: str, audience: str) -> Mapping[str, Any]:
        assert audience == AUDIENCE
        self.asked.append(token)
        return self.known.get(token, {"authenticated": False})


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_an_answer_is_remembered_for_a_minute() -> None:
    reviewer, clock, looked = Reviewer(), Clock(), list[str]()
    cache = TokenCache(reviewer, USERS, clock, looked.append)
    assert await cache.node("good") == "edge-1"
    clock.now = 59.9
    assert await cache.node("good") == "edge-1"
    assert reviewer.asked == ["good"]
    reviewer.known.clear()  # revoked
    clock.now = 60.0
    with pytest.raises(InvalidTokenError):
        await cache.node("good")
    assert looked == ["reviewed", "remembered", "reviewed"]


async def test_a_bad_token_is_not_asked_about_again_and_again() -> None:
    reviewer = Reviewer()
    cache = TokenCache(reviewer, USERS, Clock(), lambda _: None)
    for _ in range(3):
        with pytest.raises(InvalidTokenError):
            await cache.node("bad")
    assert reviewer.asked == ["bad"]


@pytest.mark.parametrize("token", ["", "x" * 20_000], ids=["empty", "huge"])
async def test_what_can_be_no_token_is_not_asked_about(token: str) -> None:
    reviewer = Reviewer()
    with pytest.raises(InvalidTokenError):
        await TokenCache(reviewer, USERS, Clock(), lambda _: None).node(token)
    assert reviewer.asked == []


async def test_no_token_is_kept() -> None:
    cache = TokenCache(Reviewer(), USERS, Clock(), lambda _: None)
    await cache.node("good")
    assert "good" not in repr(cache)
