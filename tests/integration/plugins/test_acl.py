"""acl: groups that may or may not pass, and what the upstream is told of them."""

from __future__ import annotations

import pytest

from tests.support.gateway import wait_for
from tests.support.plugged import Answer, Plugged, plugin

CONSUMERS = [
    {"username": name, "keyauth_credentials": [{"key": name}], "acls": [{"group": group} for group in groups]}
    for name, groups in (
        ("both", ["gold", "silver"]),
        ("gold", ["gold"]),
        ("bad", ["bad", "gold"]),
        ("none", []),
        ("anon", []),
        ("odd", ["gold, bad", "a\tb", "é", "gold"]),
    )
]


def configure(plugged: Plugged, **config: object) -> None:
    plugged.configure(plugin("key-auth", anonymous="anon"), plugin("acl", **config), consumers=CONSUMERS)


def as_consumer(plugged: Plugged, name: str, *fields: str) -> Answer:
    return plugged.request("/", f"apikey: {name}", *fields)


def assert_forbidden(answer: Answer) -> None:
    assert (answer.status, answer.message) == (403, "You cannot consume this service")
    assert answer.challenge is None


def test_allow(plugged: Plugged) -> None:
    configure(plugged, allow=["gold", "platinum"])
    assert as_consumer(plugged, "both").upstream.get("x-consumer-groups") == "gold, silver"
    assert as_consumer(plugged, "gold").upstream.get("x-consumer-groups") == "gold"
    assert as_consumer(plugged, "bad").upstream.get("x-consumer-groups") == "bad, gold"
    assert_forbidden(as_consumer(plugged, "none"))
    configure(plugged, allow=["silver"])
    assert_forbidden(as_consumer(plugged, "gold"))
    assert as_consumer(plugged, "both").status == 200


def test_deny(plugged: Plugged) -> None:
    configure(plugged, deny=["bad"])
    assert as_consumer(plugged, "both").upstream.get("x-consumer-groups") == "gold, silver"
    assert as_consumer(plugged, "none").upstream.get("x-consumer-groups") == ""
    assert_forbidden(as_consumer(plugged, "bad"))


def test_without_a_consumer(plugged: Plugged) -> None:
    for config in ({"allow": ["gold"]}, {"deny": ["gold"]}):
        plugged.configure(plugin("acl", **config))
        answer = plugged.request("/", "X-Consumer-Groups: gold", "X-Authenticated-Groups: gold")
        assert (answer.status, answer.message, answer.challenge) == (401, "Unauthorized", None)


def test_anonymous_consumers(plugged: Plugged) -> None:
    configure(plugged, allow=["gold"])
    answer = plugged.request("/")
    assert (answer.status, answer.message) == (401, "Unauthorized"), "in no group, and no credential"
    configure(plugged, deny=["gold"])
    sent = plugged.request("/").upstream
    assert sent.get("x-consumer-groups") == ""
    assert sent.get("x-anonymous-consumer") == "true"


def test_hiding_the_groups(plugged: Plugged) -> None:
    configure(plugged, allow=["gold"], hide_groups_header=True)
    assert as_consumer(plugged, "gold", "X-Consumer-Groups: x").upstream.get("x-consumer-groups") is None


def test_what_the_client_says_of_groups(plugged: Plugged) -> None:
    """It says nothing: neither who passes, nor what the upstream gets."""
    configure(plugged, allow=["silver"], always_use_authenticated_groups=True)
    said = ("X-Consumer-Groups: silver", "X-Authenticated-Groups: silver", "x_authenticated_groups: silver")
    assert_forbidden(as_consumer(plugged, "gold", *said))
    sent = as_consumer(plugged, "both", "X-Consumer-Groups: admin", "X-Authenticated-Groups: silver").upstream
    assert sent.fields["x-consumer-groups"] == ["gold, silver"]
    assert sent.get("x-authenticated-groups") is None


def test_odd_names(plugged: Plugged) -> None:
    configure(plugged, allow=["é"])
    groups = as_consumer(plugged, "odd").upstream.get("x-consumer-groups") or ""
    # what cannot stand in a header is left out
    assert groups.encode("latin-1").decode() == "gold, bad, é, gold"
    configure(plugged, deny=["bad"])
    assert as_consumer(plugged, "odd").status == 200, "a group called 'gold, bad' is not the group 'bad'"


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 1000])
def test_all_groups_of_long_lists_are_found(plugged: Plugged, count: int) -> None:
    groups = [f"group-{number}" for number in range(count)]
    for number in {0, count // 2, count - 1}:
        bob = {"username": "bob", "keyauth_credentials": [{"key": "k"}]}
        plugged.configure(
            plugin("key-auth"),
            plugin("acl", allow=groups),
            consumers=[
                {**bob, "acls": [{"group": "x"}, {"group": f"group-{number}"}]},
                {
                    "username": "eve",
                    "keyauth_credentials": [{"key": "e"}],
                    "acls": [{"group": f"group-{count}"}],
                },
            ],
        )
        assert plugged.request("/", "apikey: k").status == 200
        assert plugged.request("/", "apikey: e").status == 403


def test_consumers_in_many_groups(plugged: Plugged) -> None:
    """The header has limits; who leaves it out has none."""
    many = [{"group": f"group-number-{number:06}"} for number in range(4000)]
    bob = {"username": "bob", "keyauth_credentials": [{"key": "k"}], "acls": many}
    plugged.configure(plugin("key-auth"), plugin("acl", allow=["group-number-003999"]), consumers=[bob])
    assert plugged.request("/", "apikey: k").status == 500
    wait_for(lambda: "hide_groups_header" in plugged.gateway.output(), what="the log tells what helps")
    hiding = plugin("acl", allow=["group-number-003999"], hide_groups_header=True)
    plugged.configure(plugin("key-auth"), hiding, consumers=[bob])
    assert plugged.request("/", "apikey: k").status == 200
