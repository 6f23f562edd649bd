"""The index against Kong's rules applied one route after the other."""

import random
from urllib.parse import urlencode

from hypothesis import given, settings
from hypothesis import strategies as st
from router_support import reference_match, route, router

HOSTS = [
    "a.com",
    "b.com",
    "x.a.com",
    "*.a.com",
    "*.com",
    "a.*",
    "x.*",
    "a.com:81",
    "*.com:81",
    "x.*:81",
    "B.com",
]
PATHS = [
    "/",
    "/a",
    "/ab",
    "/a/b",
    "/a/b/c",
    "/é",
    "/b",
    "/aaaaaaaaaaaaaaaaaaaaaaaaaa",
    "/aaaaaaaaaaaaaaaaaaa/b",
]
PATHS += ["~/a(b)?", "~/[ab]+/c?", "~/(a|/b)", "~/.*b$", "~/a/b(/c)?$", "~/aaaaa*", "~/é?", "~/(?P<x>a)b|/b"]
VALUES = ["1", "2", "AB", "~*^a", "~*2$"]


def some(values, size=3):
    return st.none() | st.lists(st.sampled_from(values), min_size=1, max_size=size, unique=True)


def named(names):
    return st.none() | st.dictionaries(
        st.sampled_from(names),
        st.lists(st.sampled_from(VALUES), min_size=1, max_size=2, unique=True),
        min_size=1,
    )


ROUTES = st.lists(
    st.fixed_dictionaries(
        {
            "hosts": some(HOSTS),
            "paths": some(PATHS),
            "methods": some(["GET", "POST", "PURGE"], 2),
            "headers": named(["x-a", "X_B"]),
            "query_params": named(["q", "r s"]),
            "regex_priority": st.integers(0, 2),
            "created_at": st.integers(1, 3),
        }
    ),
    max_size=8,
).map(lambda fields: [route(number, **one) for number, one in enumerate(fields)])

GIVEN_VALUES = st.sampled_from(["1", "2", "ab", "Ax", "12", ""])
REQUESTS = st.fixed_dictionaries(
    {
        "method": st.sampled_from(["GET", "POST", "PURGE", "PUT"]),
        "host": st.sampled_from(
            ["a.com", "A.com", "b.com", "x.a.com", "y.x.a.com", "x.org", "a.", "c.org", ""]
        ),
        "port": st.sampled_from([80, 81]),
        "path": st.text("ab/cé", max_size=6).map(lambda tail: "/" + tail) | st.sampled_from(PATHS[:9]),
        "headers": st.lists(st.tuples(st.sampled_from(["x-a", "x_a", "X-B", "c"]), GIVEN_VALUES), max_size=4),
        "pairs": st.lists(st.tuples(st.sampled_from(["q", "r s", "Q"]), GIVEN_VALUES), max_size=3),
    }
)


def compare(built, routes, request):
    query = urlencode(request["pairs"])
    found = built.match(query=query, **{name: value for name, value in request.items() if name != "pairs"})
    # the reference works on characters, the router on bytes
    expected = reference_match(routes, request)
    seen = None
    if found is not None:
        seen = (found["name"], len(request["path"].encode()[: found["matched_length"]].decode()))
    assert seen == expected, request


@settings(max_examples=150)
@given(ROUTES, st.lists(REQUESTS, min_size=1, max_size=8))
def test_against_the_rules(routes, requests):
    built = router(*routes)
    for request in requests:
        compare(built, routes, request)


def test_many_routes_against_the_rules():
    chosen = random.Random(20240701)
    words = ["a", "ab", "abc", "users", "users-of-a-group", "x", "orders", "é"]

    def random_path():
        path = "/" + "/".join(chosen.choices(words, k=chosen.choice([0, 0, 1, 2, 3, 4])))
        return f"~{path}(/\\d+)?" if chosen.random() < 0.2 else path

    routes = [
        route(
            number,
            paths=[random_path() for _ in range(chosen.randint(0, 3))] or None,
            hosts=chosen.choice([None, ["a.com"], ["*.com", "b.org"], [f"h{number % 50}.org"], ["a.*:81"]]),
            methods=chosen.choice([None, ["GET"], ["POST", "PUT"]]),
            headers=chosen.choice([None, None, {"v": [str(number % 9)]}, {"v": ["~*[12]"], "w": ["1", "2"]}]),
            created_at=chosen.randint(1, 5),
        )
        for number in range(400)
    ]
    routes = [one for one in routes if one.paths or one.hosts or one.methods]
    built = router(*routes)
    for _ in range(600):
        tail = "/".join(chosen.choices([*words, "7"], k=chosen.randint(0, 5)))
        request = {
            "method": chosen.choice(["GET", "POST", "DELETE"]),
            "host": chosen.choice(["a.com", "q.com", "h7.org", "h49.org", "b.org", "a.net", "none"]),
            "port": chosen.choice([80, 81]),
            "path": "/" + tail,
            "headers": [(name, str(chosen.randint(0, 9))) for name in chosen.choices("vw", k=2)],
            "pairs": [],
        }
        compare(built, routes, request)
