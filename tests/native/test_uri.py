import json
import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from native.uri import normalize, upstream_path, valid_utf8

CASES = Path(__file__).parents[3] / "shared" / "conformance" / "router-cases.json"

RESERVED = b"!#$%&'()*+,/:;=?@[]"
KEPT = RESERVED.replace(b"#", b"").replace(b"?", b"") + b"-_.~"


# --- normalising ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "normal"),
    [
        (b"/", b"/"),
        (b"/a/b", b"/a/b"),
        (b"/a/./b/.", b"/a/b/"),
        (b"/a/../b", b"/b"),
        (b"/a/b/..", b"/a/"),
        (b"/a/b/../", b"/a/"),
        (b"/a/..", b"/"),
        (b"//a///b//", b"/a/b/"),
        (b"/...", b"/..."),
        (b"/.a/..b", b"/.a/..b"),
        (b"/%41%7E%2d", b"/A~-"),
        (b"/a%2fb%3a%5b", b"/a%2Fb%3A%5B"),
        (b"/%25%41", b"/%25A"),
        (b"/%2541", b"/%2541"),
        (b"/%2e%2E/x", None),
        (b"/a/%2e%2E/x", b"/x"),
        (b"/caf%C3%A9", "/café".encode()),
        (b"/sp%20ace%22", b'/sp ace"'),
        (b"/\xff", b"/\xff"),
        (b"/%0d%0a", b"/%0D%0A"),
        # refused
        (b"", None),
        (b"*", None),
        (b"a/b", None),
        (b"/..", None),
        (b"/../x", None),
        (b"/a/../../x", None),
        (b"/a//../..", None),
        (b"/%", None),
        (b"/%4", None),
        (b"/%zz", None),
        (b"/%4g", None),
        (b"/a%00b", None),
        (b"/a\x00b", None),
        # nginx decodes %2F before it looks for "..": above the root by that way is refused, inside is not
        (b"/..%2fx", None),
        (b"/a/..%2f..%2f..", None),
        (b"/a%2F..%2f../x", None),
        (b"/pre/%2e%2e%2fx", b"/pre/..%2Fx"),
        (b"/a/b/..%2F..", b"/a/b/..%2F.."),
    ],
)
def test_normalize(path, normal):
    assert normalize(path) == normal


def naive_normalize(path: bytes) -> bytes | None:
    """The rules one after the other, the slow way."""
    if not path.startswith(b"/") or re.search(rb"%(?![0-9A-Fa-f]{2})", path):
        return None

    def decode(found):
        byte = bytes.fromhex(found[1].decode())
        return found[0].upper() if byte in (RESERVED[i : i + 1] for i in range(len(RESERVED))) else byte

    decoded = re.sub(rb"%([0-9A-Fa-f]{2})", decode, path)
    if b"\0" in decoded:
        return None

    def walk(segments):
        kept = []
        for segment in segments:
            if segment == b"..":
                if not kept:
                    return None
                kept.pop()
            elif segment not in (b"", b"."):
                kept.append(segment)
        return kept

    if walk(decoded.replace(b"%2F", b"/").split(b"/")) is None:
        return None
    segments = decoded.split(b"/")[1:]
    kept = walk(segments)
    if kept is None:
        return None
    ends_open = segments[-1] in (b"", b".", b"..")
    return b"/" + b"/".join(kept) + (b"/" if ends_open and kept else b"")


PIECES = [b"/", b".", b"..", b"%2e", b"%2F", b"%2f", b"a", b"b", b"%41", b"%", b"%zz", b"%00", b"\xc3\xa9"]
PIECES += [b" ", b"%25", b"%C3", b"#", b"~", b"%20"]
PATHS = st.lists(st.sampled_from(PIECES), max_size=12).map(lambda pieces: b"/" + b"".join(pieces))


@given(PATHS | st.binary(max_size=20).map(lambda tail: b"/" + tail))
@example(b"/a/./../..")
@example(b"/a%2F..%2f../x")
def test_normalize_against_the_rules(path):
    assert normalize(path) == naive_normalize(path)


@given(PATHS)
def test_what_is_normal_stays(path):
    normal = normalize(path)
    if normal is not None and b"%" not in normal:
        assert normalize(normal) == normal


@given(PATHS)
def test_no_dot_segment_survives(path):
    normal = normalize(path)
    if normal is not None:
        assert normal.startswith(b"/")
        assert not {b".", b".."} & set(normal.split(b"/"))
        assert b"//" not in normal
        assert len(normal) <= len(path)


# --- joining -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("service", "strip", "request_path", "v0", "v1"),
    [
        # the table of reference/proxying.md §2; strip: bytes taken off
        (b"/", 0, b"/route/x", b"/route/x", b"/route/x"),
        (b"/", 6, b"/route", b"/", b"/"),
        (b"/", 6, b"/route/", b"/", b"/"),
        (b"/", 6, b"/routereq", b"/req", b"/req"),
        (b"/srv", 0, b"/roureq", b"/srv/roureq", b"/srvroureq"),
        (b"/srv", 4, b"/roureq", b"/srv/req", b"/srvreq"),
        (b"/srv/", 4, b"/rou", b"/srv", b"/srv/"),
        (b"/service", 6, b"/route", b"/service", b"/service"),
        (b"/service", 6, b"/route/", b"/service/", b"/service/"),
        (b"/service", 6, b"/route/a", b"/service/a", b"/service/a"),
        (b"/service", 0, b"/route", b"/service/route", b"/serviceroute"),
        (b"/service", 7, b"/route/", b"/service/", b"/service"),
        (b"/service/", 7, b"/route/r", b"/service/r", b"/service/r"),
        (b"/service", 0, b"/", b"/service", b"/service"),
        (b"/service", 1, b"/", b"/service", b"/service"),
        (b"/service/", 0, b"/", b"/service/", b"/service/"),
        (b"/service/", 1, b"/", b"/service/", b"/service/"),
        # dot segments that stripping uncovers
        (b"/", 4, b"/pre./x", b"/x", b"/x"),
        (b"/", 4, b"/pre../x", b"/x", b"/x"),
        (b"/", 4, b"/pre.", b"/", b"/"),
        (b"/", 4, b"/pre..", b"/", b"/"),
        (b"/", 4, b"/pre.../y", b"/.../y", b"/.../y"),
    ],
)
def test_upstream_path(service, strip, request_path, v0, v1):
    assert upstream_path(service, request_path, strip) == v0
    assert upstream_path(service, request_path, strip, v1=True) == v1


def test_upstream_path_is_escaped():
    assert upstream_path(b"/", '/café ü"<>\\^`{|}\r\n\x7f'.encode()) == (
        b"/caf%C3%A9%20%C3%BC%22%3C%3E%5C%5E%60%7B%7C%7D%0D%0A%7F"
    )
    assert upstream_path(b"/s p", b"/a%2Fb%25#?") == b"/s%20p/a%2Fb%25%23%3F"
    assert upstream_path(b"/", KEPT.replace(b"/", b"")) == b"/" + KEPT.replace(b"/", b"")


@given(PATHS, st.sampled_from([b"/", b"/s", b"/s/", b"/s p"]), st.integers(0, 30), st.booleans())
def test_upstream_path_fits_or_says_so(path, service, strip, v1):
    normal = normalize(path)
    if normal is None:
        return
    strip = min(strip, len(normal))
    whole = upstream_path(service, normal, strip, v1)
    assert whole is not None
    assert re.fullmatch(rb"/[\x21-\x7e]*", whole)
    for capacity in range(len(whole) + 3):
        fits = upstream_path(service, normal, strip, v1, capacity)
        assert fits == (whole if capacity >= len(whole) else None)


def test_impossible_arguments_are_refused():
    assert upstream_path(b"", b"/a") is None
    assert upstream_path(b"/", b"") is None
    assert upstream_path(b"/", b"/a", 3) is None


def path_handling_cases():
    return json.loads(CASES.read_text())["path_handling"] if CASES.exists() else []


@pytest.mark.skipif(not CASES.exists(), reason="../shared/conformance is not here")
@pytest.mark.parametrize("case", path_handling_cases(), ids=str)
def test_recorded_path_handling(case):
    normal = normalize(case["request_path"].encode())
    assert normal is not None
    route_path = case.get("route_path", "").encode()
    assert normal.startswith(route_path)
    strip = len(route_path) if case["strip_path"] else 0
    v1 = case["path_handling"] == "v1"
    assert upstream_path(case["service_path"].encode(), normal, strip, v1) == case["expected_path"].encode()


# --- UTF-8 ---------------------------------------------------------------------------------------


def decodes(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


@given(st.binary(max_size=24) | st.text(max_size=12).map(lambda text: text.encode("utf-8", "surrogatepass")))
@example(b"\xed\xa0\x80")
@example(b"\xf4\x90\x80\x80")
@example(b"\xc0\x80")
@example(b"\xe0\x9f\xbf")
@example(b"aaaaaaaa\xf0\x8f\xbf\xbf")
@example(b"aaaaaaaa\xf0\x9f\x98")
def test_valid_utf8(text):
    assert valid_utf8(text) == decodes(text)


@given(st.binary(min_size=1, max_size=4))
def test_every_short_sequence(text):
    assert valid_utf8(b"abcdefg" + text) == decodes(text)
