# The cache from Python, for tests.

def store(
    SharedState shared not None, bytes token not None, *, rules=(1, 2), begins=None, expires=None, known_until=None,
    uint64_t credential=0, TokenSource source=TOKEN_OF_CREDENTIAL, bytes claim=b"", int64_t now=1, words=None,
) -> bool:
    """Keep a token. `words`: write no more than so many, as a process that is killed meanwhile. ValueError for a claim
    that does not fit."""
    cdef ControlWords* control = shared_control(shared.base)
    cdef TokenFacts facts
    cdef const uint8_t* text = token
    cdef const char* claim_text = claim
    memset(&facts, 0, sizeof(facts))
    facts.rules[0], facts.rules[1] = rules
    facts.begins = INT64_MIN if begins is None else begins
    facts.expires = INT64_MAX if expires is None else expires
    facts.known_until = INT64_MAX if known_until is None else known_until
    facts.credential = credential
    facts.source = source
    if len(claim) > CLAIM_LENGTH:
        raise ValueError("the claim is too long")
    facts.claim_length = <uint32_t> len(claim)
    memcpy(facts.claim, claim_text, <size_t> len(claim))
    cdef uint32_t length = <uint32_t> len(token)
    cdef uint32_t most = <uint32_t> -1 if words is None else <uint32_t> words
    cdef uint64_t hash = token_hash(control, facts.rules, text, length)
    return store_words(control, hash, text, length, &facts, now, most)


def find(SharedState shared not None, bytes token not None, *, rules=(1, 2), int64_t now=1) -> dict | None:
    """What is known of a token."""
    cdef ControlWords* control = shared_control(shared.base)
    cdef TokenFacts facts
    cdef const uint8_t* text = token
    cdef uint64_t[2] wanted
    wanted[0], wanted[1] = rules
    cdef uint32_t length = <uint32_t> len(token)
    if not token_find(control, token_hash(control, wanted, text, length), wanted, text, length, now, &facts):
        return None
    return {
        "begins": None if facts.begins == INT64_MIN else facts.begins,
        "expires": None if facts.expires == INT64_MAX else facts.expires,
        "known_until": None if facts.known_until == INT64_MAX else facts.known_until,
        "credential": facts.credential, "source": TokenSource(facts.source),
        "claim": (<const char*> facts.claim)[:facts.claim_length],
    }


def words_of(bytes token not None) -> int:
    """The words that an entry of a token has."""
    return HEAD_WORDS + (len(token) + 7) // 8


def scribble(SharedState shared not None, uint64_t word, uint64_t value) -> None:
    """Write a word of the region, as a writer does that goes astray."""
    cdef ControlWords* control = shared_control(shared.base)
    if word >= control.token_cache_size // 8:
        raise IndexError(word)
    (<uint64_t*> (<uint8_t*> control + control.token_cache_offset))[word] = value
