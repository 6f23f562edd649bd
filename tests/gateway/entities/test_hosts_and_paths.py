"""Hosts, paths and patterns as they are written in configurations."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.entities.hosts import Host, HostKind, InvalidHost, format_host, parse_host
from gateway.entities.paths import normal_path, path_of_older_format, route_path_problem
from gateway.entities.patterns import unsupported_construct
from gateway.entities.value_checks import pem_label, percent_problem


@pytest.mark.parametrize(
    ("text", "kind", "host", "port"),
    [
        ("a", HostKind.NAME, "a", None),
        ("a.b:0", HostKind.NAME, "a.b", 0),
        ("Under_Score-x.", HostKind.NAME, "Under_Score-x.", None),
        ("1.2.3.4.5a", HostKind.NAME, "1.2.3.4.5a", None),
        ("001.02.3.4:65535", HostKind.IPV4, "1.2.3.4", 65535),
        ("::", HostKind.IPV6, "0000:0000:0000:0000:0000:0000:0000:0000", None),
        ("[1::2]:3", HostKind.IPV6, "0001:0000:0000:0000:0000:0000:0000:0002", 3),
        ("::ffff:1.2.3.4", HostKind.IPV6, "0000:0000:0000:0000:0000:ffff:0102:0304", None),
    ],
)
def test_hosts(text: str, kind: HostKind, host: str, port: int | None) -> None:
    assert parse_host(text) == Host(kind, host, port)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "invalid hostname: "),
        (":", "invalid hostname: :"),
        (":80", "invalid ipv4 address: :80"),
        ("a:65536", "invalid port number"),
        ("a:99999999999999999999", "invalid port number"),
        ("a:", "invalid hostname: a:"),
        (".a", "invalid hostname: .a"),
        ("a..b", "invalid hostname: a..b"),
        ("a-", "invalid hostname: a-"),
        ("é", "invalid hostname: é"),
        ("a\n", "invalid hostname: a\n"),
        ("1.2.3", "invalid ipv4 address: 1.2.3"),
        ("1.2.3.256", "invalid ipv4 address: 1.2.3.256"),
        ("1.2.3.4:70000", "invalid port number"),
        ("1.2.3.4\n", "invalid hostname: 1.2.3.4\n"),
        ("[::1]:99999", "invalid port number"),
        ("[::1]x", "invalid ipv6 address: [::1]x"),
        ("[::1", "invalid ipv6 address: [::1"),
        ("::g", "invalid ipv6 address: ::g"),
        ("fe80::1%eth0", "invalid ipv6 address: fe80::1%eth0"),
        ("1:2:3", "invalid ipv6 address: 1:2:3"),
    ],
)
def test_no_hosts(text: str, problem: str) -> None:
    with pytest.raises(InvalidHost) as caught:
        parse_host(text)
    assert str(caught.value) == problem


@given(st.text("0123456789abcdefx.:[]-%\n", max_size=24))
@settings(max_examples=300)
def test_a_formatted_host_reads_as_itself(text: str) -> None:
    try:
        host = parse_host(text)
    except InvalidHost:
        return
    assert parse_host(format_host(host)) == host


@pytest.mark.parametrize(
    ("path", "normal"),
    [
        ("/", "/"),
        ("/a", "/a"),
        ("/a/", "/a/"),
        ("/a/./b", "/a/b"),
        ("/a/../b", "/b"),
        ("/..", "/"),
        ("/../../a", "/a"),
        ("/a/..", "/"),
        ("/a/b/..", "/a/"),
        ("/a/.", "/a/"),
        ("//a///b", "/a/b"),
        ("/%41%7e%2F%2f", "/A~%2F%2F"),
        ("/%2e%2e/a", "/a"),
        ("/%20", "/ "),
        ("/%C3%A9", "/é"),
        ("/%3a", "/%3A"),
        ("/.a/..b/c.", "/.a/..b/c."),
    ],
)
def test_normal_paths(path: str, normal: str) -> None:
    assert normal_path(path) == normal


@given(st.text("/.%2eEfFaA4~ ", max_size=20).map(lambda text: f"/{text}"))
@settings(max_examples=300)
def test_the_normal_form_of_a_path_without_encoded_percent_signs_is_its_own(path: str) -> None:
    normal = normal_path(path)
    if "%" not in normal:
        assert normal_path(normal) == normal


@given(st.text("/.%2eEfFaA4~ é", max_size=20).map(lambda text: f"/{text}"))
@settings(max_examples=300)
def test_the_data_plane_has_the_same_normal_form(path: str) -> None:
    uri = pytest.importorskip("native.uri")
    in_requests = uri.normalize(path.encode())
    if in_requests is not None and percent_problem(path) is None:
        assert normal_path(path) == in_requests.decode(errors="replace")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("/plain", "/plain"),
        ("/dot.ted", "/dot.ted"),
        ("/a/../b", "/b"),
        ("/%41", "/A"),
        (r"/v\d+", r"~/v\d+"),
        ("/a(b)", "~/a(b)"),
        ("/a$/%41%2e%2F", r"~/a$/A\.%2F"),
    ],
)
def test_paths_of_older_formats(old: str, new: str) -> None:
    assert path_of_older_format(old) == new


def test_huge_values_are_judged_quickly() -> None:
    """No rule may take more than linear time: values come from the network."""
    assert route_path_problem("~/" + "(" * 200_000) is not None
    assert route_path_problem("/" + "../" * 200_000) is not None
    assert route_path_problem("/" + "a" * 1_000_000) is None
    assert unsupported_construct("a" * 500_000 + "[x]" * 100_000) is None
    for text in ("[", "(?#[", "\\Q[", "\\c[", "[[:a", "[\\", "("):
        unsupported_construct(text * 200_000)
        unsupported_construct("(?#" + text * 200_000 + ")")
    assert pem_label("-----BEGIN CERTIFICATE-----\n" + "a-: b\n" * 100_000) is None
    assert pem_label("-----BEGIN X-----" * 50_000) is None
    with pytest.raises(InvalidHost):
        parse_host("a." * 500_000 + ":")


@pytest.mark.parametrize(
    ("pattern", "construct"),
    [
        ("(?#[)(?=a)]", "look-around"),
        (r"\c[(?=a)]", "look-around"),
        ("(?x)#[\n(?=a)#]", "look-around"),
        (r"\Q[\E(?=a)]", "look-around"),
        ("(*pla:a)", "a backtracking verb"),
        ("(?#(?=a)b", None),
        ("[(?=a]", None),
        ("[](?=]", None),
        ("[[:alpha:](?=]", None),
        (r"\Q(?=\E", None),
        ("(?<name>x)", None),
    ],
)
def test_constructs_hidden_behind_brackets(pattern: str, construct: str | None) -> None:
    assert unsupported_construct(pattern) == construct
