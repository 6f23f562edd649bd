"""bot-detection: which User-Agents are refused (plugins.md; corrections.md, 28)."""

from __future__ import annotations

import pytest

from tests.support.client import Client
from tests.support.plugged import Plugged, plugin

BOTS = [
    "Python-urllib/3.11",
    "Go-http-client/1.1",
    "okhttp/4.9.3",
    "axios/1.6.0",
    "Apache-HttpClient/4.5.13 (Java/11.0.2)",
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
    "Twitterbot/1.0",
    "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
    "Mozilla/5.0 (compatible; Baiduspider/2.0)",
    "my-crawler/0.1",
]
PEOPLE = [
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 Version/17.5 Safari/604.1",
    "Mozilla/5.0 (Linux; Android 12; CUBOT P50) AppleWebKit/537.36 Chrome/120.0.0.0 Mobile Safari/537.36",
    "curl/8.5.0",
    "python-requests/2.31.0",
    "Wget/1.21.4",
    "Scrapy/2.11 (+https://scrapy.org)",
    "bot",
    "about axios",
]


def found(plugged: Plugged, *user_agents: str) -> dict[str, int]:
    """Statuses by User-Agent, all on one connection, twice: the second time they are remembered."""
    client = Client(plugged.gateway.proxy_port)
    answers = {}
    for _ in range(2):
        for one in user_agents:
            answers[one] = client.request("/", f"User-Agent: {one}").response().status
    client.close()
    return answers


def test_built_in_patterns(plugged: Plugged) -> None:
    plugged.configure(plugin("bot-detection"))
    assert found(plugged, *BOTS) == dict.fromkeys(BOTS, 403)
    assert found(plugged, *PEOPLE) == dict.fromkeys(PEOPLE, 200)
    assert plugged.request("/", f"User-Agent: {BOTS[0]}").message == "Forbidden"


def test_allow_counts_before_deny_before_what_is_built_in(plugged: Plugged) -> None:
    plugged.configure(plugin("bot-detection", allow=["^Googlebot/2", "^my-good"], deny=["^my-", "curl"]))
    answers = found(
        plugged, "Googlebot/2.1", "Googlebot/1.0", "my-good-tool", "my-bad-tool", "curl/8", "wget/8"
    )
    assert list(answers.values()) == [200, 403, 200, 403, 403, 200]


def test_patterns_are_found_anywhere_and_know_case(plugged: Plugged) -> None:
    plugged.configure(plugin("bot-detection", deny=["evil", "(?i)worse"]))
    answers = found(plugged, "an evil tool", "EVIL", "WORSE")
    assert list(answers.values()) == [403, 200, 403]


@pytest.mark.parametrize("fields", [[], ["User-Agent:"]])
def test_without_user_agent(plugged: Plugged, fields: list[str]) -> None:
    plugged.configure(plugin("bot-detection", deny=["^$"]))
    assert plugged.request("/", *fields).status == 200


def test_two_user_agents(plugged: Plugged) -> None:
    plugged.configure(plugin("bot-detection"))
    answer = plugged.request("/", "User-Agent: a", "User-Agent: b")
    assert (answer.status, answer.message) == (400, "Only one User-Agent header allowed")


def test_a_user_agent_that_exhausts_an_expression(plugged: Plugged) -> None:
    """It is not allowed by an expression that gives up, and it is denied by one."""
    hopeless = "a" * 200 + "b"
    plugged.configure(plugin("bot-detection", deny=["^(a+)+$"]))
    assert plugged.request("/", f"User-Agent: {hopeless}").status == 403
    plugged.configure(plugin("bot-detection", allow=["^(a+)+$"], deny=["b$"]))
    assert plugged.request("/", f"User-Agent: {hopeless}").status == 403


def test_long_user_agents_and_more_than_are_remembered(plugged: Plugged) -> None:
    plugged.configure(plugin("bot-detection"))
    long = "x" * 5000
    many = [f"tool {number}" for number in range(300)] + [f"Twitterbot/{number}" for number in range(300)]
    expected = [200] * 300 + [403] * 300
    assert list(found(plugged, *many).values()) == expected
    assert list(found(plugged, long, f"{long} Googlebot/2.1").values()) == [200, 403]
