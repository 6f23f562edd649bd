from gateway.entities.routes import Route
from gateway.snapshot.matchers import Matcher, matchers_of


def route(name: str, **fields) -> Route:
    return Route(**{"id": name, "name": name, "created_at": 1, "updated_at": 1} | fields)


def ranked(*routes: Route) -> list[tuple[str, Matcher]]:
    """Matchers with the id of their route, the first to be tried first."""
    found = [(one.id, matcher) for one in routes for matcher in matchers_of(one)]
    assert len({matcher.order for _, matcher in found}) == len(found)
    return sorted(found, key=lambda one: one[1].order)


def order(*routes: Route) -> list[tuple[str, str]]:
    return [(identifier, matcher.path) for identifier, matcher in ranked(*routes)]


def test_each_path_has_its_place():
    assert order(route("a", paths=["/", "/long", "~/x", "~/y"]), route("b", paths=["/lon"])) == [
        ("a", "/x"),
        ("a", "/y"),
        ("a", "/long"),
        ("b", "/lon"),
        ("a", "/"),
    ]


def test_lengths_are_of_bytes():
    assert order(route("a", paths=["/ab"]), route("b", paths=["/é€"]))[0] == ("b", "/é€")


def test_repeated_paths_count_once():
    assert order(route("a", paths=["/x", "/x"])) == [("a", "/x")]


def test_a_route_without_paths():
    assert order(route("a", methods=["GET"])) == [("a", "")]


def test_empty_lists_are_no_attributes():
    assert order(route("a", hosts=["h"], paths=[], methods=[]), route("b", hosts=["h"], methods=["GET"])) == [
        ("b", ""),
        ("a", ""),
    ]


def test_names_beyond_255_do_not_count():
    many = {f"h{number}": ["1"] for number in range(300)}
    more = {f"h{number}": ["1"] for number in range(400)}
    assert order(route("b", headers=more), route("a", headers=many)) == [("a", ""), ("b", "")]


def test_hosts_with_and_without_a_port_are_matchers_of_their_own():
    found = ranked(route("a", hosts=["x", "y"]), route("b", hosts=["x:81", "z", "[::1]:82"]))
    assert [(identifier, matcher.hosts) for identifier, matcher in found] == [
        ("b", ("x:81", "[::1]:82")),
        ("a", ("x", "y")),
        ("b", ("z",)),
    ]


def test_regex_priority_counts_for_regex_paths_only():
    first = route("a", paths=["/abc", "~/x"], regex_priority=0)
    second = route("b", paths=["/ab", "~/y"], regex_priority=5)
    assert order(first, second) == [("b", "/y"), ("a", "/x"), ("a", "/abc"), ("b", "/ab")]
    assert order(route("a", paths=["~/x"], regex_priority=None))[0] == ("a", "/x")
