import pytest
from router_support import compiled, route, router, winner

from native.router import Router
from native.router_builder import literal_prefix, split_port

# --- which conditions hold -----------------------------------------------------------------------


def test_no_routes():
    assert router().match(path="/") is None


def test_path_prefixes_are_compared_byte_by_byte():
    built = router(route(1, paths=["/a"]), route(2, paths=["/a/b"]), route(3, paths=["/abc", "/xyz"]))
    for path, expected in [
        ("/a", "r1"),
        ("/a/", "r1"),
        ("/a/b", "r2"),
        ("/a/bc", "r2"),
        ("/abcd", "r3"),
        ("/ab", "r1"),
        ("/xyz/1", "r3"),
        ("/A", None),
        ("/", None),
        ("/q/a", None),
    ]:
        assert winner(built, path=path) == expected, path


def test_labels_longer_than_a_node():
    long = "/a-path-that-needs-several-nodes-of-the-tree/"
    built = router(*(route(n, paths=[long + "x" * n]) for n in range(1, 60)))
    assert winner(built, path=long) is None
    for n in range(1, 60):
        assert winner(built, path=long + "x" * n) == f"r{n}"
        assert built.match(path=long + "x" * n + "y")["matched_length"] == len(long) + n


def test_many_children_of_a_node():
    built = router(*(route(n, paths=[f"/{chr(0x100 + n)}"]) for n in range(200)))
    for n in range(200):
        assert winner(built, path=f"/{chr(0x100 + n)}/x") == f"r{n}"


def test_hosts():
    built = router(
        route(1, hosts=["a.com"]),
        route(2, hosts=["*.a.com"]),
        route(3, hosts=["b.*"]),
        route(4, hosts=["x.a.com"]),
    )
    for host, expected in [
        ("a.com", "r1"),
        ("A.Com", "r1"),
        ("x.a.com", "r4"),
        ("y.a.com", "r2"),
        ("z.y.a.com", "r2"),
        ("b.net", "r3"),
        ("b.net.org", "r3"),
        ("b.", "r3"),
        ("b", None),
        ("xa.com", None),
        ("c.com", None),
        ("a.com.", None),
        ("", None),
        ("y" * 300 + ".a.com", None),
    ]:
        assert winner(built, host=host) == expected, host
    # the port matters only to patterns that have one
    assert winner(built, host="a.com", port=1234) == "r1"


def test_hosts_with_ports():
    built = router(
        route(1, hosts=["p.com:8080"]), route(2, hosts=["p2.com"]), route(3, hosts=["*.e.com:81", "w.*:82"])
    )
    assert winner(built, host="p.com", port=8080) == "r1"
    assert winner(built, host="p.com", port=80) is None
    assert winner(built, host="p2.com", port=8080) == "r2"
    assert winner(built, host="x.e.com", port=81) == "r3"
    assert winner(built, host="x.e.com", port=82) is None
    assert winner(built, host="w.x", port=82) == "r3"


def test_a_host_with_a_port_comes_first_among_equals():
    built = router(route(1, hosts=["a.com", "b.com"]), route(2, hosts=["a.com:81", "b.com"]))
    assert winner(built, host="a.com", port=81) == "r2"
    assert winner(built, host="a.com", port=80) == "r1"
    assert winner(built, host="b.com", port=81) == "r1"


def test_ipv6_hosts():
    built = router(route(1, hosts=["[::1]:81"]), route(2, hosts=["[::2]"]))
    assert winner(built, host="[::1]", port=81) == "r1"
    assert winner(built, host="[::1]", port=80) is None
    assert winner(built, host="[::2]", port=80) == "r2"


def test_methods():
    built = router(route(1, methods=["GET", "PURGE"]), route(2, methods=["POST", "CONNECT"]))
    names = ("GET", "PURGE", "POST", "CONNECT", "PUT", "get", "PURGED", "G", "")
    assert [winner(built, method=name) for name in names] == [
        *("r1", "r1", "r2", "r2", None, None, None, None, None)
    ]
    every = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"]
    built = router(*(route(n, methods=[name]) for n, name in enumerate(every)))
    assert [winner(built, method=name) for name in every] == [f"r{n}" for n in range(9)]


def test_headers():
    built = router(
        route(1, headers={"x-v": ["1", "2"]}),
        route(2, headers={"x-v": ["1"], "x-w": ["Q"]}),
        route(3, headers={"x-r": ["~*^ab.*z$"]}),
        route(4, headers={"x_under-score": ["y"]}),
    )
    for headers, expected in [
        ([("X-V", "1")], "r1"),
        ([("x-v", "2")], "r1"),
        ([("x-v", "1"), ("X-W", "q")], "r2"),
        ([("x-v", "3")], None),
        ([("x-r", "ABcZ")], "r3"),
        ([("x-r", "ab")], None),
        ([("x-v", "9"), ("x-v", "2")], "r1"),
        ([("x-v", "1, 2")], None),
        ([("x-under-score", "y")], "r4"),
        ([("x_under_score", "y")], "r4"),
        ([], None),
    ]:
        assert winner(built, headers=headers) == expected, headers


def test_a_header_value_too_long_for_a_regex_does_not_match():
    built = router(route(1, headers={"x": ["~*a"]}))
    assert winner(built, headers=[("x", "a" * 65536)]) == "r1"
    assert winner(built, headers=[("x", "a" * 65537)]) is None


def test_query_parameters():
    built = router(
        route(1, query_params={"version": ["2", "beta"]}),
        route(2, query_params={"version": ["2"], "debug": [""]}),
        route(3, query_params={"Söme name": ["~*^ä.c"]}),
    )
    for query, expected in [
        ("version=2", "r1"),
        ("a=1&version=BETA&b", "r1"),
        ("version=3&version=2", "r1"),
        ("version=%32", "r1"),
        ("%76ersion=2", "r1"),
        ("Version=2", None),
        ("version=22", None),
        ("version=", None),
        ("version", None),
        ("version=2&debug", "r2"),
        ("debug=&version=2", "r2"),
        ("debug=1&version=2", "r1"),
        ("S%C3%B6me+name=%C3%A4bc", "r3"),
        ("S%C3%B6me%20name=x", None),
        ("", None),
        ("&&=&==&%&%4&version=2%", None),
        ("&&=&==&%&%4&version=2&", "r1"),
    ]:
        assert winner(built, query=query) == expected, query


def test_query_names_weigh_like_header_names():
    built = router(
        route(1, headers={"a": ["1"]}, query_params={"q": ["1"]}),
        route(2, headers={"a": ["1"], "b": ["1"]}, query_params={"q": ["1"]}),
        route(3, query_params={"q": ["1"]}, paths=["/"]),
        route(4, paths=["/long"]),
    )
    both = [("a", "1"), ("b", "1")]
    assert winner(built, query="q=1", headers=both) == "r2"
    assert winner(built, query="q=1", headers=both[:1]) == "r1"
    assert winner(built, query="q=1", path="/long") == "r3"
    assert winner(built, path="/long") == "r4"


def test_server_names():
    built = router(
        route(1, snis=["*.sni.test"]), route(2, snis=["sni.*"]), route(3, snis=["Plain.test"], paths=["/p"])
    )
    for sni, expected in [
        ("foo.sni.test", "r1"),
        ("foo.bar.SNI.test", "r1"),
        ("foo.sni.test.", "r1"),
        ("sni.foo.bar", "r2"),
        ("bar.sni.foo", None),
        ("", None),
        (None, None),
    ]:
        assert winner(built, https=True, sni=sni) == expected, sni
    assert winner(built, https=True, sni="plain.test", path="/p") == "r3"
    # on plain http the condition is ignored
    assert winner(built, https=False, path="/p") == "r3"


def test_protocols_are_no_condition():
    """The worker answers a request that comes by another protocol than its route's."""
    grpc = route(2, paths=["/g"], protocols=["grpc"], strip_path=False)
    built = router(route(1, paths=["/a"], protocols=["https"]), grpc)
    assert winner(built, path="/a", https=False) == "r1"
    assert winner(built, path="/g") == "r2"


def test_paths_that_are_not_utf8_have_no_route():
    built = router(route(1, paths=["/"]))
    assert winner(built, path="/é") == "r1"
    assert winner(built, path=b"/\xe9") is None


# --- regex paths ---------------------------------------------------------------------------------


def test_regex_paths():
    built = router(
        route(1, paths=[r"~/users/(?P<id>\d+)/(?<tail>[a-z]*)(/x)?(/y)?"]), route(2, paths=["/users"])
    )
    found = built.match(path="/users/12/ab/y/rest")
    assert found["name"] == "r1"
    assert found["captures"] == [b"/users/12/ab/y", b"12", b"ab", None, b"/y"]
    assert found["matched_length"] == 14
    assert winner(built, path="/users/x") == "r2"
    assert winner(built, path="/x/users/1/") is None


def test_regex_paths_match_at_the_start_only():
    built = router(route(1, paths=["~/a|/b"]))
    assert winner(built, path="/a") == "r1"
    assert winner(built, path="/bc") == "r1"
    assert winner(built, path="/x/b") is None


def test_more_groups_than_captures():
    built = router(route(1, paths=["~/" + "(a)" * 20]))
    found = built.match(path="/" + "a" * 20)
    assert len(found["captures"]) == 16
    assert found["matched_length"] == 21


def test_regexes_that_stay_are_not_compiled_again():
    first = Router(compiled(route(1, paths=[r"~/a/(\d+)", "~/b"]), route(2, headers={"x": ["~*^/b"]})))
    routes = [route(3, paths=["~/c", r"~/a/(\d+)"]), route(2, headers={"x": ["~*^/b"]})]
    second = Router(compiled(*routes), first)
    assert (first.shared_regexes, second.shared_regexes) == (2, 2)
    third = Router(compiled(*routes), second)
    assert (first.shared_regexes, third.shared_regexes) == (2, 3)
    del first, second
    assert third.shared_regexes == 0
    found = third.match(path="/a/17")
    assert found is not None
    assert found["captures"] == [b"/a/17", b"17"]
    assert third.match(path="/c") is not None


def test_a_path_and_a_header_never_share_a_regex():
    first = Router(compiled(route(1, paths=["~/a"])))
    second = Router(compiled(route(1, paths=["/"], headers={"x": ["~*/a"]})), first)
    assert second.shared_regexes == 0
    assert second.match(path="/", headers=[("x", "b/a")]) is not None


def test_a_regex_that_takes_too_long_does_not_match_and_is_counted():
    built = router(route(1, paths=["~/(a+)+$"]), route(2, paths=["/"]))
    assert winner(built, path="/aaa") == "r1"
    assert built.regex_limits == 0
    assert winner(built, path="/" + "a" * 60 + "!") == "r2"
    assert built.regex_limits == 1


@pytest.mark.parametrize(
    ("pattern", "prefix"),
    [
        ("/users/(\\d+)", "/users/"),
        ("/a", "/a"),
        ("/a$", "/a"),
        ("/ab?", "/a"),
        ("/ab*c", "/a"),
        ("/ab{0,2}", "/a"),
        ("/ab+c", "/ab"),
        (r"/a\.b\-c\/d", "/a.b-c/d"),
        (r"/a\.?b", "/a"),
        (r"/a\d", "/a"),
        (r"/a\Qb\E", ""),
        ("/a|/b", ""),
        ("/a(b|c)", "/a"),
        ("/a[|]b", "/a"),
        (r"/a\|b", "/a|b"),
        ("/[0]?route", "/"),
        ("/a[]|]b", ""),
        ("/a(b)|c", ""),
        ("/é?", "/"),
        ("/é+", "/é"),
        ("(?i)/a", ""),
        ("^/a", ""),
        ("", ""),
    ],
)
def test_literal_prefix(pattern, prefix):
    assert literal_prefix(pattern) == prefix


def test_split_port():
    assert split_port("a.com:80") == ("a.com", 80)
    assert split_port("a.com") == ("a.com", 0)
    assert split_port("*.a.com:8443") == ("*.a.com", 8443)
    assert split_port("[::1]:80") == ("[::1]", 80)
    assert split_port("[::1]") == ("[::1]", 0)
    assert split_port("::1") == ("::1", 0)


# --- which of several wins -----------------------------------------------------------------------


def test_more_kinds_of_attributes_win():
    built = router(
        route(1, paths=["/long/path/here"]),
        route(2, hosts=["h.com"], paths=["/"]),
        route(3, methods=["GET"], paths=["/"]),
        route(4, hosts=["h.com"], methods=["GET"], paths=["/"]),
        route(5, headers={"x-a": ["1"]}, paths=["/"]),
    )
    assert winner(built, path="/long/path/here", host="h.com") == "r4"
    assert winner(built, path="/long/path/here", host="z.com") == "r3"
    assert winner(built, method="POST", path="/x", host="h.com") == "r2"
    assert winner(built, method="POST", path="/long/path/here", host="z.com") == "r1"
    assert winner(built, method="POST", host="z.com", headers=[("x-a", "1")]) == "r5"
    assert winner(built, method="POST", path="/x", host="z.com") is None


def test_plain_hosts_then_regex_then_names_then_length():
    wild, plain = {"hosts": ["*.com"]}, {"hosts": ["a.com"]}
    built = router(
        route(1, **wild, paths=["~/p.*"]),
        route(2, **plain, paths=["/p"]),
        route(3, hosts=["a.com", "b.*"], paths=["~/p.*"]),
    )
    # a route with one wildcard among its hosts is no longer one of plain hosts
    assert winner(built, host="a.com", path="/p/q") == "r2"
    assert winner(built, host="x.com", path="/p/q") == "r1"
    built = router(
        route(1, headers={"a": ["1"]}, paths=["/long/prefix"]),
        route(2, headers={"a": ["1"], "b": ["2"]}, paths=["/"]),
        route(3, headers={"a": ["1"]}, paths=["~/lo"]),
    )
    assert winner(built, path="/long/prefix", headers=[("a", "1"), ("b", "2")]) == "r3"
    built = router(
        route(1, headers={"a": ["1"]}, paths=["/long/prefix"]),
        route(2, headers={"a": ["1"], "b": ["2"]}, paths=["/"]),
    )
    assert winner(built, path="/long/prefix", headers=[("a", "1"), ("b", "2")]) == "r2"
    assert winner(built, path="/long/prefix", headers=[("a", "1")]) == "r1"


def test_regex_priority():
    built = router(
        route(1, paths=["~/a.*"], regex_priority=1),
        route(2, paths=["~/ab.*"], regex_priority=2),
        route(3, paths=["~/abc.*"], regex_priority=-1),
        route(4, paths=["/abcd"], regex_priority=9),
    )
    assert winner(built, path="/abcd") == "r2"
    assert winner(built, path="/ac") == "r1"


def test_equal_routes_oldest_first_then_lowest_id():
    assert winner(router(route(1, paths=["/a"]), route(2, paths=["/a"])), path="/a") == "r1"
    assert winner(router(route(2, paths=["/a"]), route(1, paths=["/a"])), path="/a") == "r1"
    same = {"paths": ["/a"], "created_at": 5}
    assert winner(router(route(2, **same), route(1, **same)), path="/a") == "r1"
    younger = route(1, paths=["/a"], created_at=6)
    assert winner(router(younger, route(2, **same)), path="/a") == "r2"


def test_paths_of_a_route_have_priorities_of_their_own():
    built = router(route(1, paths=["/", "/aaa/bbb"]), route(2, paths=["/aaa"]))
    assert winner(built, path="/aaa") == "r2"
    assert built.match(path="/aaa/bbb/c")["matched_length"] == 8
    assert winner(built, path="/zzz") == "r1"
    built = router(route(1, paths=["~/some/thing", "/foo"]), route(2, paths=["/foo/bar"]))
    assert winner(built, path="/some/thing/else") == "r1"
    assert winner(built, path="/foo/bar") == "r2"


# --- the index -----------------------------------------------------------------------------------


def test_equal_input_gives_equal_bytes():
    routes = [route(n, paths=[f"/{n}"], hosts=["*.a", f"h{n}", "b.*"]) for n in range(20)]
    assert compiled(*routes) == compiled(*routes)


def test_a_route_with_many_hosts_and_paths_stays_small():
    hosts = [f"h{n}.com" for n in range(300)]
    paths = [f"/p{n}" for n in range(300)]
    data = compiled(route(1, hosts=hosts, paths=paths))
    assert len(data) < 100_000
    built = Router(data)
    assert winner(built, host="h299.com", path="/p299/x") == "r1"
    assert winner(built, host="h300.com", path="/p299/x") is None


def test_many_routes_that_differ_by_a_header():
    tenants = [route(n, paths=["/"], headers={"X_Tenant": [f"T{n}", f"t{n}-b"]}) for n in range(100)]
    others = [
        route(200, paths=["/"], headers={"x-tenant": ["~*^any"]}),
        route(201, paths=["/"], headers={"x-tenant": ["t5"], "x-b": ["1"]}),
        route(202, paths=["/"], headers={"x-tenant": ["v" * 300]}),
        route(203, paths=["/"], methods=["PUT"]),
        route(204, paths=["/"]),
    ]
    built = router(*tenants, *others)
    for n in (0, 5, 99):
        assert winner(built, headers=[("a", "b"), ("x-tenant", f"t{n}")]) == f"r{n}"
        assert winner(built, headers=[("X-Tenant", f"t{n}-B")]) == f"r{n}"
    assert winner(built, headers=[("X-Tenant", "t7"), ("X-Tenant", "t3")]) == "r3"
    assert winner(built, headers=[("X-Tenant", "anybody")]) == "r200"
    assert winner(built, headers=[("X-Tenant", "t5"), ("x-b", "1")]) == "r201"
    assert winner(built, headers=[("X-Tenant", "V" * 300)]) == "r202"
    assert winner(built, method="PUT") == "r203"
    assert winner(built, method="PUT", headers=[("X-Tenant", "t9")]) == "r9"
    assert winner(built, headers=[("X-Tenant", "t100")]) == "r204"
    assert winner(built, headers=[("X-Tenant", "")]) == "r204"


def test_deep_paths_need_no_stack():
    deep = ["/" + "a/" * n for n in range(0, 3000, 3)]
    built = router(*(route(n, paths=[path]) for n, path in enumerate(deep)))
    assert built.match(path=deep[-1] + "b")["matched_length"] == len(deep[-1])


def test_a_router_wants_a_configuration():
    with pytest.raises(ValueError, match="too short"):
        Router(b"")
    with pytest.raises(ValueError, match="not a snapshot"):
        Router(bytes(400))
