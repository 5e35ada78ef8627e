"""Who is asking: a node's token, reviewed by the API server and remembered for at most a minute."""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from edgewright_operator.cluster.client import ApiClient

AUDIENCE: Final = "edgewright"
NODE_NAME: Final = "authentication.kubernetes.io/node-name"
_REMEMBER_SECONDS: Final = 60.0
_REMEMBER_AT_MOST: Final = 20_000
_LONGEST_TOKEN: Final = 16 * 1024
_REVIEWS_AT_ONCE: Final = 8

Review = Callable[[str, str], Awaitable[Mapping[str, Any]]]
"""Takes a token and an audience; returns the ``status`` of the TokenReview as the API server wrote it."""


class InvalidTokenError(Exception):
    """``401``: the API server does not know the token, or it is for another audience."""


class NotANodeError(Exception):
    """``403``: a good token that does not speak for a node."""


def node_of(status: Mapping[str, Any], users: frozenset[str]) -> str:
    """Return the node that a reviewed token speaks for.

    Pods of any tenant hold tokens that name their node, so the user must be one of ``users``, too.

    Raises:
        InvalidTokenError: not authenticated, or not for our audience.
        NotANodeError: another user, or no node claim.
    """
    if status.get("authenticated") is not True or AUDIENCE not in status.get("audiences", ()):
        raise InvalidTokenError("the token is not valid for this gateway")
    user = status.get("user", {})
    nodes: Sequence[str] = user.get("extra", {}).get(NODE_NAME, ())
    if user.get("username") not in users:
        raise NotANodeError("the token does not belong to the service account of the nodes")
    if len(nodes) != 1 or not nodes[0]:
        raise NotANodeError(f"the token is not bound to a node: it has no claim {NODE_NAME}")
    return nodes[0]


@dataclass(frozen=True, slots=True)
class _Known:
    status: Mapping[str, Any]
    until: float


@dataclass(slots=True)
class TokenCache:
    """Reviews tokens; a token revoked at the API server is refused here after a minute at the latest."""

    review: Review
    users: frozenset[str]
    clock: Callable[[], float]
    observe: Callable[[str], None]
    """Told ``remembered`` or ``reviewed`` for every token that was looked at."""

    _known: OrderedDict[bytes, _Known] = field(default_factory=OrderedDict)
    _turn: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_REVIEWS_AT_ONCE))

    async def node(self, token: str) -> str:
        """Return the node that ``token`` speaks for; raises as :func:`node_of` does."""
        if not token or len(token) > _LONGEST_TOKEN:
            raise InvalidTokenError("the token is missing or too long")
        # The hash, so that a dump of this process gives nobody a token.
        key = hashlib.sha256(token.encode()).digest()
        known = self._known.get(key)
        if known is None or known.until <= self.clock():
            async with self._turn:
                status = await self.review(token, AUDIENCE)
            known = _Known(status, self.clock() + _REMEMBER_SECONDS)
            self._remember(key, known)
            self.observe("reviewed")
        else:
            self.observe("remembered")
        return node_of(known.status, self.users)

    def _remember(self, key: bytes, known: _Known) -> None:
        self._known.pop(key, None)
        self._known[key] = known
        while len(self._known) > _REMEMBER_AT_MOST:
            self._known.popitem(last=False)


class _TokenReview(msgspec.Struct):
    status: dict[str, Any]


def reviewer(api: ApiClient) -> Review:
    """Return the review that asks this API server. It raises ApiError when there is no answer."""

    async def review(token: str, audience: str) -> Mapping[str, Any]:
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [audience]},
        }
        answer = await api.request("POST", "/apis/authentication.k8s.io/v1/tokenreviews", body=body)
        return msgspec.json.decode(answer, type=_TokenReview).status

    return review
