# What a matcher wants of a request beside host and path. Included by router.pyx.

cdef bint method_listed(const Search* search, const MatcherRecord* matcher) noexcept nogil:
    cdef const MatchText* texts = search.texts + matcher.method_first
    cdef uint32_t index
    for index in range(matcher.method_count):
        if (texts[index].text.length == search.query.method_length
                and memcmp(text_at(search, texts[index].text), search.query.method, search.query.method_length) == 0):
            return True
    return False


cdef inline bint equal_lower(const uint8_t* text, const uint8_t* lower, uint32_t length) noexcept nogil:
    cdef uint32_t index
    for index in range(length):
        if lower_case[text[index]] != lower[index]:
            return False
    return True


cdef inline uint32_t steps_allowed(uint32_t runs) noexcept nogil:
    """Match limit for a request's next regex. A client decides how many values a condition has to look at, so that
    the first few runs may be costly, but not all: together they stay below some tens of milliseconds even when every
    pattern is catastrophic. Ordinary patterns need fewer than 100 steps."""
    if runs < 8:
        return 100000
    return 5000 if runs < 256 else 500


cdef int run_regex(Search* search, uint32_t pattern, const uint8_t* subject, uint32_t length,
                   uint32_t* groups, uint32_t* group_count) noexcept nogil:
    cdef int result
    if search.runtime is NULL:
        return 0
    result = regex_match_within(search.runtime.regexes[pattern], subject, length, groups, group_count,
                                steps_allowed(search.regex_runs))
    search.regex_runs += 1
    if result == REGEX_LIMIT:
        search.runtime.regex_limits += 1
    return result == REGEX_MATCH


cdef bint header_value_matches(Search* search, const ConditionRecord* condition, const uint8_t* value,
                               uint32_t length) noexcept nogil:
    cdef const MatchText* texts = search.texts + condition.text_first
    cdef uint32_t index, at
    cdef bint in_scratch = False
    for index in range(condition.text_count):
        if texts[index].pattern == NO_INDEX:
            if texts[index].text.length == length and equal_lower(value, text_at(search, texts[index].text), length):
                return True
        elif search.runtime is not NULL and length <= SCRATCH_SIZE:
            if not in_scratch:
                for at in range(length):
                    search.runtime.scratch[at] = lower_case[value[at]]
                in_scratch = True
            if run_regex(search, texts[index].pattern, search.runtime.scratch, length, NULL, NULL):
                return True
    return False


cdef inline bint same_header(const Search* search, const HeaderField* field, StringRef wanted) noexcept nogil:
    cdef const uint8_t* name = search.query.head + field.name_offset
    cdef const uint8_t* form = text_at(search, wanted)
    cdef uint32_t at
    if field.name_length != wanted.length:
        return False
    for at in range(wanted.length):
        if name_form[name[at]] != form[at]:
            return False
    return True


cdef bint header_condition_holds(Search* search, const ConditionRecord* condition) noexcept nogil:
    cdef const RouteQuery* query = search.query
    cdef const HeaderField* field
    cdef uint32_t index
    for index in range(query.header_count):
        field = &query.headers[index]
        if same_header(search, field, condition.name) and header_value_matches(
                search, condition, query.head + field.value_offset, field.value_length):
            return True
    return False


cdef inline uint32_t decode_byte(const uint8_t* text, uint32_t length, uint32_t at, uint8_t* byte) noexcept nogil:
    """One byte of a query part (application/x-www-form-urlencoded); returns where the next begins. A "%" without
    two hex digits stands for itself."""
    cdef uint8_t high, low
    if text[at] == c"%" and length - at >= 3:
        high = hex_value[text[at + 1]]
        low = hex_value[text[at + 2]]
        if high != 0xff and low != 0xff:
            byte[0] = <uint8_t> (high << 4 | low)
            return at + 3
    byte[0] = c" " if text[at] == c"+" else text[at]
    return at + 1


cdef bint equal_decoded(const uint8_t* text, uint32_t length, const uint8_t* wanted, uint32_t wanted_length,
                        bint fold_case) noexcept nogil:
    cdef uint32_t at = 0, seen = 0
    cdef uint8_t byte = 0
    while at < length:
        at = decode_byte(text, length, at, &byte)
        if seen == wanted_length or (lower_case[byte] if fold_case else byte) != wanted[seen]:
            return False
        seen += 1
    return seen == wanted_length


cdef bint query_value_matches(Search* search, const ConditionRecord* condition, const uint8_t* value,
                              uint32_t length) noexcept nogil:
    cdef const MatchText* texts = search.texts + condition.text_first
    cdef uint32_t index, at, decoded
    cdef uint8_t byte = 0
    for index in range(condition.text_count):
        if texts[index].pattern == NO_INDEX:
            if equal_decoded(value, length, text_at(search, texts[index].text), texts[index].text.length, True):
                return True
        elif search.runtime is not NULL and length <= SCRATCH_SIZE:
            at = decoded = 0
            while at < length:
                at = decode_byte(value, length, at, &byte)
                search.runtime.scratch[decoded] = lower_case[byte]
                decoded += 1
            if run_regex(search, texts[index].pattern, search.runtime.scratch, decoded, NULL, NULL):
                return True
    return False


cdef bint query_condition_holds(Search* search, const ConditionRecord* condition) noexcept nogil:
    cdef const uint8_t* at = search.query.query
    cdef uint32_t left = search.query.query_length
    cdef uint32_t pair, name
    cdef const void* found
    while left:
        found = memchr(at, c"&", left)
        pair = left if found is NULL else <uint32_t> (<const uint8_t*> found - at)
        if pair:
            found = memchr(at, c"=", pair)
            name = pair if found is NULL else <uint32_t> (<const uint8_t*> found - at)
            if equal_decoded(at, name, text_at(search, condition.name), condition.name.length, False):
                # "name" alone has the empty value
                if name == pair:
                    if query_value_matches(search, condition, at + name, 0):
                        return True
                elif query_value_matches(search, condition, at + name + 1, pair - name - 1):
                    return True
        if pair == left:
            break
        at += pair + 1
        left -= pair + 1
    return False


cdef bint sni_listed(const Search* search, const MatcherRecord* matcher) noexcept nogil:
    """Server names: plain, "*.x" or "x.*". Ignored on http; https without a name matches none."""
    cdef const RouteQuery* query = search.query
    cdef const MatchText* texts = search.texts + matcher.sni_first
    cdef const uint8_t* wanted
    cdef uint32_t index, length, sni_length = query.sni_length
    if not query.https:
        return True
    if query.sni is NULL or sni_length == 0:
        return False
    if query.sni[sni_length - 1] == c".":
        sni_length -= 1
    for index in range(matcher.sni_count):
        wanted = text_at(search, texts[index].text)
        length = texts[index].text.length
        if length and wanted[0] == c"*":
            if sni_length >= length - 1 and equal_lower(query.sni + sni_length - (length - 1), wanted + 1, length - 1):
                return True
        elif length and wanted[length - 1] == c"*":
            if sni_length >= length - 1 and equal_lower(query.sni, wanted, length - 1):
                return True
        elif sni_length == length and equal_lower(query.sni, wanted, length):
            return True
    return False


cdef bint conditions_hold(Search* search, const MatcherRecord* matcher) noexcept nogil:
    """All but host and path, cheapest first."""
    cdef const ConditionRecord* condition = search.conditions + matcher.condition_first
    cdef uint32_t index
    if matcher.methods and not matcher.methods & search.method_bit:
        return False
    if matcher.methods & search.method_bit & METHOD_BIT_OTHER and not method_listed(search, matcher):
        return False
    if matcher.sni_count and not sni_listed(search, matcher):
        return False
    for index in range(matcher.header_count):
        if not header_condition_holds(search, condition + index):
            return False
    condition += matcher.header_count
    for index in range(matcher.query_count):
        if not query_condition_holds(search, condition + index):
            return False
    return True
