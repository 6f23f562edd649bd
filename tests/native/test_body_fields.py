"""Fields of bodies against what Python's parsers read, and against texts that mean no good."""

import json
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from native.body_fields import (
    BodyKind,
    FieldResult,
    body_kind,
    form_left,
    json_left,
    look_up_in_form,
    look_up_in_json,
    look_up_in_multipart,
    multipart_left,
)

ABSENT, TEXT, OTHER, SEVERAL = (
    FieldResult.FIELD_ABSENT,
    FieldResult.FIELD_TEXT,
    FieldResult.FIELD_OTHER,
    FieldResult.FIELD_SEVERAL,
)
NAMES = st.sampled_from(["k", "apikey", "a", "key é", "", "%6b"])


def test_kinds_of_bodies():
    assert body_kind(b"application/x-www-form-urlencoded; charset=utf-8") == BodyKind.FORM_BODY
    assert body_kind(b"Application/JSON") == BodyKind.JSON_BODY
    assert body_kind(b"multipart/form-data; boundary=x") == BodyKind.MULTIPART_BODY
    for other in (b"", b"text/plain", b"application/jso", b"multipart/mixed"):
        assert body_kind(other) == BodyKind.BODY_OF_OTHER_KIND


# --- forms -----------------------------------------------------------------------------------------------
PAIRS = st.lists(st.tuples(NAMES, st.text(st.characters(codec="utf-8"), max_size=8)), max_size=6)


@given(PAIRS, NAMES)
def test_forms_as_python_reads_them(pairs, name):
    form = urlencode(pairs)
    values = [value for key, value in pairs if key == name]
    result, value = look_up_in_form(form.encode(), name.encode())
    assert result == (ABSENT if not values else TEXT if len(values) == 1 else SEVERAL)
    assert value == (values[0].encode() if len(values) == 1 else None)
    left = form_left(form.encode(), name.encode()).decode()
    assert parse_qsl(left, keep_blank_values=True) == [pair for pair in pairs if pair[0] != name]


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        (b"k", (OTHER, None)),
        (b"k=", (TEXT, b"")),
        (b"k=a=b", (TEXT, b"a=b")),
        (b"&&k=a&", (TEXT, b"a")),
        (b"%6B=a+b%2bc", (TEXT, b"a b+c")),
        (b"k=%", (TEXT, b"%")),
        (b"k=%4", (TEXT, b"%4")),
        (b"k=%zz%41", (TEXT, b"%zzA")),
        (b"k=%00", (TEXT, b"\x00")),
        (b"K=a", (ABSENT, None)),
        (b"kk=a&xk=b", (ABSENT, None)),
        (b"k=a&%6b=b", (SEVERAL, None)),
        (b"k&k", (SEVERAL, None)),
        (b"", (ABSENT, None)),
    ],
)
def test_odd_forms(form, expected):
    assert look_up_in_form(form, b"k") == expected


@pytest.mark.parametrize(
    ("form", "left"),
    [
        (b"k=1", b""),
        (b"k=1&a=1&k&a=%20+&%6b=2", b"a=1&a=%20+"),
        (b"a=1&k=1", b"a=1"),
        (b"a&&b", b"a&&b"),
        (b"", b""),
    ],
)
def test_what_is_left_of_a_form_is_as_it_was(form, left):
    assert form_left(form, b"k") == left


# --- JSON ------------------------------------------------------------------------------------------------
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3) | NAMES, inner, max_size=3)
    ),
    max_leaves=8,
)
OBJECTS = st.dictionaries(NAMES | st.text(max_size=3), VALUES, max_size=4)


def utf8(text):
    return text.encode("utf-8", "surrogatepass")


def kind_of(value):
    if isinstance(value, str):
        return TEXT
    return SEVERAL if isinstance(value, list | dict) else OTHER


@given(OBJECTS, NAMES, st.booleans(), st.sampled_from([None, 1, "\t"]))
def test_json_as_python_reads_it(content, name, ascii_only, indent):
    text = json.dumps(content, ensure_ascii=ascii_only, indent=indent).encode("utf-8")
    result, value = look_up_in_json(text, name.encode())
    assert result == (kind_of(content[name]) if name in content else ABSENT)
    assert value == (utf8(content[name]) if result == TEXT else None)
    rest = {key: item for key, item in content.items() if key != name}
    left = json_left(text, name.encode())
    assert json.loads(left) == rest
    assert left == json.dumps(rest, ensure_ascii=ascii_only, separators=(",", ":")).encode("utf-8")


def strict_json(text):
    def no_constant(constant):
        raise ValueError(constant)

    try:
        return json.loads(text.decode("utf-8"), parse_constant=no_constant)
    except (ValueError, RecursionError):
        return None


JSON_TOKENS = [
    *'{}[]:,"-.e+01',
    "true",
    "null",
    "nan",
    '"k"',
    '"k":',
    '"x"',
    '{"k":"v"}',
    " ",
    "\n",
    "é",
    "\x01",
]
JSON_ESCAPES = ["\\", "\\u006b", "\\ud800", "\\udc00", "\\n", "\\x"]
JSON_LIKE = st.lists(st.sampled_from(JSON_TOKENS + JSON_ESCAPES), max_size=12).map(
    lambda pieces: "".join(pieces).encode()
)


@given(JSON_LIKE)
def test_what_is_no_json_object_has_no_members(text):
    content = strict_json(text)
    result, value = look_up_in_json(text, b"k")
    if not isinstance(content, dict) or "k" not in content:
        assert result == ABSENT
    elif "\\ud" not in text.decode():
        assert result == kind_of(content["k"])
        if result == TEXT:
            assert value == content["k"].encode()


@given(st.binary(max_size=60), st.sampled_from([b'{"k":', b'{"k":"', b"{", b"", b'{"k":"v",']))
def test_any_bytes_as_json(octets, start):
    text = start + octets
    result, _ = look_up_in_json(text, b"k")
    if result != ABSENT:
        assert look_up_in_json(json_left(text, b"k"), b"k")[0] == ABSENT


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b' {"k" : "v"} \r\n', (TEXT, b"v")),
        (b'{"k":"v","k":"w"}', (TEXT, b"w")),
        (b'{"k":"v","k":1}', (OTHER, None)),
        (b'{"\\u006b":"\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\u20ac\\ud83d\\ude00"}', (TEXT, None)),
        (b'{"k":"v",}', (ABSENT, None)),
        (b'{"k":"v"}x', (ABSENT, None)),
        (b'{"k":"v"', (ABSENT, None)),
        (b'{"k":"v\x1f"}', (ABSENT, None)),
        (b'{"k":"\\ud800"}', (ABSENT, None)),
        (b'{"k":"\\udc00"}', (ABSENT, None)),
        (b'{"k":"v","n":01}', (ABSENT, None)),
        (b'{"k":"v","n":1.}', (ABSENT, None)),
        (b'{"k":"v","n":+1}', (ABSENT, None)),
        (b'{"k":"v","n":NaN}', (ABSENT, None)),
        (b'{"n":{"k":"v"}}', (ABSENT, None)),
        (b'["k"]', (ABSENT, None)),
        (b'"k"', (ABSENT, None)),
        (b'\xef\xbb\xbf{"k":"v"}', (ABSENT, None)),
        (b"", (ABSENT, None)),
    ],
)
def test_odd_json(text, expected):
    result, value = look_up_in_json(text, b"k")
    assert result == expected[0]
    if expected[1] is not None:
        assert value == expected[1]
    elif result == TEXT:
        assert value == '"\\/\b\f\n\r\té€😀'.encode()


def test_depth_of_json():
    def nested(levels):
        return b'{"k":"v","n":' + b"[" * levels + b"]" * levels + b"}"

    assert look_up_in_json(nested(999), b"k") == (TEXT, b"v")
    assert look_up_in_json(nested(1000), b"k") == (ABSENT, None)
    assert look_up_in_json(nested(200_000), b"k") == (ABSENT, None)
    assert look_up_in_json(b'{"k":"v","n":' + b'{"a":' * 200_000, b"k") == (ABSENT, None)


# --- multipart -------------------------------------------------------------------------------------------
CONTENT_TYPE = b"multipart/form-data; boundary=b0"


def multipart(parts, boundary=b"b0"):
    body = b""
    for name, value in parts:
        body += b'--%s\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (boundary, name, value)
    return body + b"--%s--\r\n" % boundary


PART_NAMES = st.sampled_from([b"k", b"a", b"", b"K"])
PART_VALUES = st.binary(max_size=20).filter(lambda value: b"--b0" not in value)


@given(st.lists(st.tuples(PART_NAMES, PART_VALUES), max_size=5))
def test_multipart_there_and_back(parts):
    body = multipart(parts)
    values = [value for name, value in parts if name == b"k"]
    result, value = look_up_in_multipart(body, CONTENT_TYPE, b"k")
    assert result == (ABSENT if not values else TEXT if len(values) == 1 else SEVERAL)
    assert value == (values[0] if len(values) == 1 else None)
    assert multipart_left(body, CONTENT_TYPE, b"k") == multipart([p for p in parts if p[0] != b"k"])


@pytest.mark.parametrize(
    "content_type",
    [
        b'multipart/form-data; charset=utf-8; Boundary="b0"',
        b"multipart/form-data;boundary=b0 ; x=y",
        b'multipart/form-data; x="; boundary=no"; boundary=b0',
    ],
)
def test_boundaries(content_type):
    assert look_up_in_multipart(multipart([(b"k", b"v")]), content_type, b"k") == (TEXT, b"v")


@pytest.mark.parametrize(
    "content_type",
    [
        b"multipart/form-data",
        b"multipart/form-data; boundary=",
        b"multipart/form-data; boundary=" + b"b" * 71,
    ],
)
def test_no_boundary(content_type):
    body = multipart([(b"k", b"v")], boundary=content_type.partition(b"=")[2])
    assert look_up_in_multipart(body, content_type, b"k") == (ABSENT, None)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"preamble\r\n--b0\r\nContent-Disposition: form-data; name=k\r\n\r\nv\r\n--b0--", (TEXT, b"v")),
        (
            b'--b0 \t\r\ncontent-disposition: form-data; filename="name=\\"k\\""; name="k"\r\n\r\n\r\n--b0--',
            (TEXT, b""),
        ),
        (b'--b0\r\nContent-Disposition: form-data; filename="; name=k"\r\n\r\nv\r\n--b0--', (ABSENT, None)),
        (
            b'--b0\r\nX: y\r\nContent-Disposition: form-data; name="k"\r\nA: b\r\n\r\nv\r\n--b0--',
            (TEXT, b"v"),
        ),
        (
            b'--b0\r\nContent-Disposition: form-data; name="k"\r\n\r\nv\r\n--b0x\r\n--b0--',
            (TEXT, b"v\r\n--b0x"),
        ),
        (b'--b0\r\nContent-Disposition: form-data; name="k"\r\n\r\nx--b0\r\n--b0--', (TEXT, b"x--b0")),
        # no end
        (b'--b0\r\nContent-Disposition: form-data; name="k"\r\n\r\nv\r\n', (ABSENT, None)),
        # no empty line
        (b'--b0\r\nContent-Disposition: form-data; name="k"\r\n--b0--', (ABSENT, None)),
        # in the content of another part, or behind the end
        (b'--b0\r\nA: b\r\n\r\nContent-Disposition: form-data; name="k"\r\n\r\nv\r\n--b0--', (ABSENT, None)),
        (b'--b0--\r\n--b0\r\nContent-Disposition: form-data; name="k"\r\n\r\nv\r\n--b0--', (ABSENT, None)),
        (b'--b0\r\nContent-Disposition: form-data; name="k\r\n\r\nv\r\n--b0--', (ABSENT, None)),
        (b"--b0\r\n--b0\r\n--b0--", (ABSENT, None)),
        (b"--b0", (ABSENT, None)),
        (b"", (ABSENT, None)),
    ],
)
def test_odd_multipart_bodies(body, expected):
    assert look_up_in_multipart(body, CONTENT_TYPE, b"k") == expected


MULTIPART_LIKE = st.lists(
    st.sampled_from(
        [
            b"--b0",
            b"\r\n",
            b"--",
            b"b0",
            b"\r",
            b"\n",
            b"x",
            b'Content-Disposition: form-data; name="k"',
            b";",
            b'"',
        ]
    ),
    max_size=20,
).map(b"".join)


@given(MULTIPART_LIKE)
def test_pieces_of_multipart_bodies(body):
    result, _ = look_up_in_multipart(body, CONTENT_TYPE, b"k")
    left = multipart_left(body, CONTENT_TYPE, b"k")
    if result == ABSENT:
        assert left == body
    assert look_up_in_multipart(left, CONTENT_TYPE, b"k")[0] == ABSENT


def test_a_body_of_almost_boundaries_takes_no_time():
    """Linear: a megabyte of each is done at once."""
    look_up_in_multipart(b"b" * 1_000_000, b"multipart/form-data; boundary=" + b"b" * 70, b"k")
    look_up_in_multipart(b"\r\n--b0" * 200_000, CONTENT_TYPE, b"k")
    look_up_in_form(b"&" * 1_000_000, b"k")
    look_up_in_json(b'{"k":' + b" " * 1_000_000, b"k")
