"""Tickets: never more than the caps, never lost, never anyone else's."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright_operator.gateway.tickets import Busy, Content, Limits, Ticket, TicketBook


def content(name: str = "a") -> Content:
    return Content(f"sha256:{name * 64}", f"blobs/sha256/{name * 64}", 10)


def book(fleet: int = 2, per_node: int = 2, seconds: float = 60.0) -> TicketBook:
    return TicketBook(Limits(fleet, per_node, seconds))


def test_a_ticket_holds_until_it_expires() -> None:
    tickets = book()
    issued = tickets.issue("t1", "n1", content(), 100.0)
    assert issued == Ticket("t1", "n1", content(), 160.0)
    assert tickets.find("t1", 159.9) == issued
    assert tickets.find("t1", 160.0) is None


def test_asking_again_extends_the_same_ticket() -> None:
    tickets = book(fleet=1)
    tickets.issue("t1", "n1", content(), 100.0)
    again = tickets.issue("t2", "n1", content(), 150.0)
    assert again == Ticket("t1", "n1", content(), 210.0)
    assert tickets.find("t2", 150.0) is None


def test_after_expiry_a_new_ticket_is_made() -> None:
    tickets = book(fleet=1)
    tickets.issue("t1", "n1", content(), 100.0)
    assert tickets.issue("t2", "n2", content(), 160.0) == Ticket("t2", "n2", content(), 220.0)


@pytest.mark.parametrize(
    ("now", "seconds"), [(100.0, 30), (135.5, 25), (159.9, 1)], ids=["far-off", "rounded-up", "at-least-one"]
)
def test_a_full_fleet_says_when_to_come_back(now: float, seconds: int) -> None:
    tickets = book(fleet=1)
    tickets.issue("t1", "n1", content(), 100.0)
    assert tickets.issue("t2", "n2", content(), now) == Busy(seconds)


def test_one_node_can_not_take_every_place() -> None:
    tickets = book(fleet=10, per_node=1)
    tickets.issue("t1", "n1", content("a"), 0.0)
    assert isinstance(tickets.issue("t2", "n1", content("b"), 0.0), Busy)
    assert isinstance(tickets.issue("t3", "n2", content("b"), 0.0), Ticket)


def test_only_its_own_node_releases_a_ticket() -> None:
    tickets = book()
    tickets.issue("t1", "n1", content(), 0.0)
    assert not tickets.release("t1", "n2")
    assert tickets.find("t1", 0.0) is not None
    assert tickets.release("t1", "n1")
    assert not tickets.release("t1", "n1")
    assert tickets.outstanding(0.0) == 0


@pytest.mark.parametrize("field", ["fleet", "per_node", "lifetime_seconds"])
@pytest.mark.parametrize("value", [0, -1])
def test_limits_are_positive(field: str, value: int) -> None:
    with pytest.raises(ValueError, match="positive"):
        dataclasses.replace(Limits(), **{field: value})


_steps = st.lists(
    st.tuples(
        st.sampled_from(["issue", "release"]),
        st.sampled_from(["n1", "n2", "n3"]),
        st.sampled_from("abcd"),
        st.floats(0, 40),
    ),
    max_size=60,
)


@given(steps=_steps, fleet=st.integers(1, 4), per_node=st.integers(1, 3))
def test_the_caps_hold_whatever_happens(
    steps: list[tuple[str, str, str, float]], fleet: int, per_node: int
) -> None:
    """Against a plain model: who holds what until when."""
    tickets, now = book(fleet, per_node, 60.0), 0.0
    held: dict[str, Ticket] = {}
    for number, (action, node, name, pause) in enumerate(steps):
        now += pause
        held = {key: ticket for key, ticket in held.items() if ticket.expires_at > now}
        mine = [ticket for ticket in held.values() if ticket.node == node]
        if action == "release":
            for ticket in mine[:1]:
                assert tickets.release(ticket.id, node)
                del held[ticket.id]
        else:
            answer = tickets.issue(f"t{number}", node, content(name), now)
            known = next((ticket for ticket in mine if ticket.content == content(name)), None)
            room = len(mine) < per_node and len(held) < fleet
            assert isinstance(answer, Ticket) == (known is not None or room)
            if isinstance(answer, Ticket):
                assert answer.id == (known.id if known else f"t{number}")
                held[answer.id] = answer
            else:
                assert 1 <= answer.retry_after_seconds <= 30
        assert tickets.outstanding(now) == len(held) <= fleet
        assert all(tickets.find(key, now) == ticket for key, ticket in held.items())
