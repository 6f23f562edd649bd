"""Dates of HTTP; see http_date.pxd. The name of the day is not looked at: it says nothing that the date does not."""

from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.string cimport memchr, memcmp

from native.fields cimport Text, text_of

cdef const char* MONTHS = b"JanFebMarAprMayJunJulAugSepOctNovDec"
cdef int[13] DAYS_BEFORE         # of a month; in a year without February 29
DAYS_BEFORE[:] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365]

ctypedef struct Date:
    int year, month, day         # month and day from 1
    int hour, minute, second


cdef int two_digits(const uint8_t* text) noexcept nogil:
    """-1: they are none. A blank stands for 0 in front (asctime)."""
    cdef int tens = 0 if text[0] == c" " else text[0] - 48
    cdef int ones = text[1] - 48
    if not (0 <= tens <= 9 and 0 <= ones <= 9):
        return -1
    return 10 * tens + ones


cdef int month_of(const uint8_t* text) noexcept nogil:
    """From 1; 0: no month."""
    cdef int i
    for i in range(12):
        if memcmp(MONTHS + 3 * i, text, 3) == 0:
            return i + 1
    return 0


cdef bint read_time(const uint8_t* text, Date* date) noexcept nogil:
    """08:49:37"""
    date.hour = two_digits(text)
    date.minute = two_digits(text + 3)
    date.second = two_digits(text + 6)
    return text[2] == c":" and text[5] == c":"


cdef inline bint is_leap_year(int year) noexcept nogil:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


cdef int64_t seconds_of(const Date* date) noexcept nogil:
    cdef int leap_day = 1 if date.month == 2 and is_leap_year(date.year) else 0
    cdef int years = date.year - 1
    cdef int64_t days
    if date.month < 1 or date.month > 12 or date.year < 1970 or date.day < 1 \
            or date.day > DAYS_BEFORE[date.month] - DAYS_BEFORE[date.month - 1] + leap_day:
        return -1
    # 60: a leap second
    if not (0 <= date.hour <= 23 and 0 <= date.minute <= 59 and 0 <= date.second <= 60):
        return -1
    # whole days from January 1 of the year 1 to 1970, and from there
    days = 365 * <int64_t> years + years // 4 - years // 100 + years // 400 - 719162
    days += DAYS_BEFORE[date.month - 1] + date.day - 1
    if date.month > 2 and is_leap_year(date.year):
        days += 1
    return days * 86400 + date.hour * 3600 + date.minute * 60 + date.second


cdef bint read_fixed(Text text, Date* date) noexcept nogil:
    """06 Nov 1994 08:49:37 GMT, the preferred form behind its day"""
    cdef const uint8_t* at = text.data
    if text.length != 24 or at[2] != c" " or at[6] != c" " or at[11] != c" " or memcmp(at + 20, b" GMT", 4) != 0:
        return False
    date.day = two_digits(at)
    date.month = month_of(at + 3)
    date.year = 100 * two_digits(at + 7) + two_digits(at + 9)
    return two_digits(at + 7) >= 0 and two_digits(at + 9) >= 0 and read_time(at + 12, date)


cdef bint read_dashed(Text text, Date* date) noexcept nogil:
    """06-Nov-94 08:49:37 GMT, of RFC 850, behind its day"""
    cdef const uint8_t* at = text.data
    cdef int year
    if text.length != 22 or at[2] != c"-" or at[6] != c"-" or at[9] != c" " or memcmp(at + 18, b" GMT", 4) != 0:
        return False
    year = two_digits(at + 7)
    date.day = two_digits(at)
    date.month = month_of(at + 3)
    date.year = year + (1900 if year >= 70 else 2000)
    return year >= 0 and read_time(at + 10, date)


cdef bint read_asctime(Text text, Date* date) noexcept nogil:
    """Sun Nov  6 08:49:37 1994"""
    cdef const uint8_t* at = text.data
    if text.length != 24 or at[3] != c" " or at[7] != c" " or at[10] != c" " or at[19] != c" ":
        return False
    date.month = month_of(at + 4)
    date.day = two_digits(at + 8)
    date.year = 100 * two_digits(at + 20) + two_digits(at + 22)
    return two_digits(at + 20) >= 0 and two_digits(at + 22) >= 0 and read_time(at + 11, date)


cdef int64_t parse_http_date(Text text) noexcept nogil:
    cdef const uint8_t* comma
    cdef uint32_t behind
    cdef Text rest
    cdef Date date
    if text.length == 0 or text.length > 40:
        return -1
    comma = <const uint8_t*> memchr(text.data, c",", text.length)
    if comma == NULL:
        return seconds_of(&date) if read_asctime(text, &date) else -1
    behind = <uint32_t> (comma - text.data) + 1
    if behind == text.length or text.data[behind] != c" ":
        return -1
    rest = text_of(text.data + behind + 1, text.length - behind - 1)
    if read_fixed(rest, &date) or read_dashed(rest, &date):
        return seconds_of(&date)
    return -1


# --- for unit tests --------------------------------------------------------------------------------------------------
def http_date_seconds(text: bytes) -> int:
    """parse_http_date()."""
    return parse_http_date(text_of(<const char*> text, <uint32_t> len(text)))
