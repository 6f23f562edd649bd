from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from native.http_date import http_date_seconds

MOMENTS = st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 31, 23, 59, 59)).map(
    lambda moment: moment.replace(microsecond=0, tzinfo=UTC)
)


@given(MOMENTS)
def test_all_forms(moment):
    seconds = int(moment.timestamp())
    assert http_date_seconds(format_datetime(moment, usegmt=True).encode()) == seconds
    assert (
        http_date_seconds(f"{moment:%a %b} {moment.day:2} {moment:%H:%M:%S} {moment.year}".encode())
        == seconds
    )
    if 1970 <= moment.year < 2070:
        assert http_date_seconds(f"{moment:%A, %d-%b-%y %H:%M:%S} GMT".encode()) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 UTC",
        "Sun, 06 Nov 1994 08:49:37 GMT ",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 94 08:49:37 GMT",
        "Sun, 06 nov 1994 08:49:37 GMT",
        "Sun, 31 Nov 1994 08:49:37 GMT",
        "Sun, 00 Nov 1994 08:49:37 GMT",
        "Tue, 29 Feb 2023 08:49:37 GMT",
        "Thu, 29 Feb 2100 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:00:00 GMT",
        "Sun, 06 Nov 1994 08:60:00 GMT",
        "Sun, 06 Nov 1994 08-49-37 GMT",
        "Sun, 06 Nov 1969 08:49:37 GMT",
        "Sun, 06 Nov -994 08:49:37 GMT",
        ",",
        ", ",
        "Sun," + 30 * " ",
        "Sun Nov  6 08:49:37 199x",
        "S" * 1000,
    ],
)
def test_what_is_no_date(text):
    assert http_date_seconds(text.encode()) == -1


def test_leap_days():
    for text in ("Thu, 29 Feb 2024 00:00:00 GMT", "Tue, 29 Feb 2000 23:59:60 GMT"):
        assert http_date_seconds(text.encode()) == pytest.approx(parsed(text), abs=1)


def parsed(text):
    return int(parsedate_to_datetime(text.replace(":60", ":59")).timestamp())


@given(st.binary(max_size=45))
def test_any_bytes(octets):
    http_date_seconds(octets)
    http_date_seconds(b"Sun, " + octets)
