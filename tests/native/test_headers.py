"""Classification of header field names (native/headers)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from native.headers import KnownHeader, classify, equal_names

NAMES = {
    "Connection": KnownHeader.HEADER_CONNECTION,
    "Content-Length": KnownHeader.HEADER_CONTENT_LENGTH,
    "Transfer-Encoding": KnownHeader.HEADER_TRANSFER_ENCODING,
    "Upgrade": KnownHeader.HEADER_UPGRADE,
    "Keep-Alive": KnownHeader.HEADER_KEEP_ALIVE,
    "Proxy-Connection": KnownHeader.HEADER_PROXY_CONNECTION,
    "TE": KnownHeader.HEADER_TE,
    "Trailer": KnownHeader.HEADER_TRAILER,
    "Expect": KnownHeader.HEADER_EXPECT,
    "Proxy": KnownHeader.HEADER_PROXY,
    "Host": KnownHeader.HEADER_HOST,
    "Via": KnownHeader.HEADER_VIA,
    "X-Real-IP": KnownHeader.HEADER_X_REAL_IP,
    "X-Forwarded-For": KnownHeader.HEADER_X_FORWARDED_FOR,
    "X-Forwarded-Proto": KnownHeader.HEADER_X_FORWARDED_PROTO,
    "X-Forwarded-Host": KnownHeader.HEADER_X_FORWARDED_HOST,
    "X-Forwarded-Port": KnownHeader.HEADER_X_FORWARDED_PORT,
    "X-Forwarded-Path": KnownHeader.HEADER_X_FORWARDED_PATH,
    "X-Forwarded-Prefix": KnownHeader.HEADER_X_FORWARDED_PREFIX,
    "Accept": KnownHeader.HEADER_ACCEPT,
    "Content-Type": KnownHeader.HEADER_CONTENT_TYPE,
    "User-Agent": KnownHeader.HEADER_USER_AGENT,
    "Referer": KnownHeader.HEADER_REFERER,
    "Server": KnownHeader.HEADER_SERVER,
    "Date": KnownHeader.HEADER_DATE,
    "X-Kong-Request-Id": KnownHeader.HEADER_KONG_REQUEST_ID,
    "X-Kong-Upstream-Latency": KnownHeader.HEADER_KONG_UPSTREAM_LATENCY,
    "X-Kong-Proxy-Latency": KnownHeader.HEADER_KONG_PROXY_LATENCY,
    "X-Kong-Response-Latency": KnownHeader.HEADER_KONG_RESPONSE_LATENCY,
    "X-Kong-Upstream-Status": KnownHeader.HEADER_KONG_UPSTREAM_STATUS,
    "Kong-Debug": KnownHeader.HEADER_KONG_DEBUG,
    "Authorization": KnownHeader.HEADER_AUTHORIZATION,
    "Cookie": KnownHeader.HEADER_COOKIE,
    "Sec-WebSocket-Key": KnownHeader.HEADER_SEC_WEBSOCKET_KEY,
    "Proxy-Authorization": KnownHeader.HEADER_PROXY_AUTHORIZATION,
    "Origin": KnownHeader.HEADER_ORIGIN,
    "X-Sluicegate-Debug": KnownHeader.HEADER_DEBUG_TOKEN,
}
IDENTITIES = ("X-Consumer-", "X-Credential-", "X-Authenticated-")
"""what the names of fields begin with that say who the client is; and X-Anonymous-Consumer"""
SAID_BY_CLIENTS = ("Proxy-Authorization", "X-Sluicegate-Debug")
"""fields that the gateway reads and never sets: no other spelling of them could deceive"""
NAME_CHARACTERS = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def test_every_known_header_is_in_the_table() -> None:
    others = {KnownHeader.HEADER_OTHER, KnownHeader.HEADER_SHADOW, KnownHeader.HEADER_IDENTITY}
    assert set(NAMES.values()) | others == set(KnownHeader)


@pytest.mark.parametrize(
    "name", [*(prefix + "Id" for prefix in IDENTITIES), "X-Consumer-Anything", "X-Anonymous-Consumer"]
)
def test_fields_of_identity(name: str) -> None:
    for form in (name, name.lower(), name.upper()):
        assert classify(form.encode()) == KnownHeader.HEADER_IDENTITY


@pytest.mark.parametrize("name", NAMES)
def test_known_names_in_any_case(name: str) -> None:
    for form in (name, name.lower(), name.upper(), name.swapcase()):
        assert classify(form.encode()) == NAMES[name]


@pytest.mark.parametrize("name", NAMES)
def test_a_changed_name_is_another_one(name: str) -> None:
    for at in range(len(name)):
        head, tail = name[:at], name[at + 1 :]
        for changed in (head + tail, head + "q" + tail, head + "q" + name[at:]):
            expected = NAMES.get(changed, KnownHeader.HEADER_OTHER)
            assert classify(changed.encode()) == expected, changed


@pytest.mark.parametrize(
    "name",
    [
        "X_Real_IP", "x_real-ip", "X-Real_IP", "X_Forwarded_For", "x-forwarded_for", "X_FORWARDED_HOST",
        "X_Forwarded_Anything", "X_Kong_Request_Id", "X_Kong_Upstream_Latency", "X-Kong-Proxy_Latency",
        "X_Kong_Response_Latency", "Proxy_Connection", "Content_Length", "content_length",
        "Transfer_Encoding", "transfer_encoding", "Keep_Alive", "X_Consumer_ID", "X-Consumer_Custom-ID",
        "X_Consumer_Username", "X_Consumer_Groups", "X_Credential_Identifier", "X_Anonymous_Consumer",
        "X_Authenticated_Userid", "X-Authenticated_Scope", "X.Forwarded.For", "X-Real.IP", "Content.Length",
        "Transfer~Encoding", "X!Real!IP",
    ],
)  # fmt: skip
def test_names_an_upstream_could_confuse_are_shadows(name: str) -> None:
    assert classify(name.encode()) == KnownHeader.HEADER_SHADOW


@pytest.mark.parametrize(
    "name",
    [
        "X_Custom", "api_key", "X_Request_Id", "Content_Type", "User_Agent", "X_Real_IP2", "XX_Real_IP",
        "X_RealIP", "X-Consumer", "X-Consumer-", "X-Credential-", "X-Authenticated-",
        "X-Forwarded", "X-Forwarded-Server", "X-Kong-Other", "X_Forwarded", "_", "", "X", "a-b.c",
        "Content_Lengths", "X_Kong", "X-Anonymous-Consumers", "Host_", "T_E",
    ],
)  # fmt: skip
def test_other_names(name: str) -> None:
    assert classify(name.encode()) == KnownHeader.HEADER_OTHER


@given(st.text(NAME_CHARACTERS, max_size=40))
def test_any_name_agrees_with_the_tables(name: str) -> None:
    known = {key.lower(): value for key, value in NAMES.items()}.get(name.lower())
    folded = "".join(char if char.isalnum() else "-" for char in name.lower())
    lower = name.lower()
    if known is not None:
        assert classify(name.encode()) == known
    elif lower == "x-anonymous-consumer" or any(
        lower.startswith(prefix.lower()) and len(lower) > len(prefix) for prefix in IDENTITIES
    ):
        assert classify(name.encode()) == KnownHeader.HEADER_IDENTITY
    elif folded == name.lower():
        assert classify(name.encode()) == KnownHeader.HEADER_OTHER
    else:
        assert classify(name.encode()) in (KnownHeader.HEADER_OTHER, KnownHeader.HEADER_SHADOW)


@given(st.sampled_from(sorted(NAMES)), st.data())
def test_separators_replaced_in_a_set_name_never_pass(name: str, data: st.DataObject) -> None:
    count = name.count("-")
    separators = data.draw(st.lists(st.sampled_from("-_.!~+"), min_size=count, max_size=count))
    parts = name.split("-")
    changed = parts[0] + "".join(a + b for a, b in zip(separators, parts[1:], strict=True))
    if changed == name or name in SAID_BY_CLIENTS:
        return
    if not name.startswith(("X-", "Content-Length", "Transfer-", "Keep-", "Proxy-")):
        return
    assert classify(changed.encode()) == KnownHeader.HEADER_SHADOW


def test_equal_names() -> None:
    assert equal_names(b"", b"")
    assert equal_names(b"Content-Length", b"cONTENT-lENGTH")
    assert not equal_names(b"a", b"ab")
    assert not equal_names(b"ab", b"aB_"[:1] + b"c")
    # Bit 0x20 alone does not make letters of these pairs.
    assert not equal_names(b"^", b"~")
    assert not equal_names(b"@", b"`")
    assert not equal_names(b"[", b"{")
