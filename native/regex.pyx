"""PCRE2 behind four functions. The ABI is that of pcre2.h (pcre2api(3)); no header is needed to build."""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport calloc, free

cdef extern from "dlfcn.h" nogil:
    void* dlopen(const char* name, int flags)
    void* dlsym(void* library, const char* symbol)
    const int RTLD_NOW
    const int RTLD_LOCAL

# --- the part of pcre2.h that is used --------------------------------------------------------------------------------
cdef enum:
    PCRE2_ANCHORED = 0x80000000
    PCRE2_DOLLAR_ENDONLY = 0x00000010
    PCRE2_UTF = 0x00080000
    PCRE2_NEVER_BACKSLASH_C = 0x00100000
    PCRE2_MATCH_INVALID_UTF = 0x04000000
    PCRE2_JIT_COMPLETE = 0x00000001
    PCRE2_NEWLINE_LF = 2
    PCRE2_ERROR_NOMATCH = -1
    PCRE2_INFO_CAPTURECOUNT = 4
    PCRE2_INFO_JITSIZE = 10
    PCRE2_INFO_NAMECOUNT = 17
    PCRE2_INFO_NAMEENTRYSIZE = 18
    PCRE2_INFO_NAMETABLE = 19

ctypedef void* (*CompileFunction)(const uint8_t*, size_t, uint32_t, int*, size_t*, void*) noexcept nogil
ctypedef void (*FreeFunction)(void*) noexcept nogil
ctypedef void* (*CreateFunction)(void*) noexcept nogil
ctypedef void* (*CreateFromPatternFunction)(const void*, void*) noexcept nogil
ctypedef int (*MatchFunction)(const void*, const uint8_t*, size_t, size_t, uint32_t, void*, void*) noexcept nogil
ctypedef size_t* (*OffsetsFunction)(void*) noexcept nogil
ctypedef int (*SetNumberFunction)(void*, uint32_t) noexcept nogil
ctypedef int (*JitCompileFunction)(void*, uint32_t) noexcept nogil
ctypedef void* (*JitStackCreateFunction)(size_t, size_t, void*) noexcept nogil
ctypedef void* (*JitStackCallback)(void*) noexcept nogil
ctypedef void (*JitStackAssignFunction)(void*, JitStackCallback, void*) noexcept nogil
ctypedef int (*PatternInfoFunction)(const void*, uint32_t, void*) noexcept nogil
ctypedef int (*ErrorMessageFunction)(int, uint8_t*, size_t) noexcept nogil
ctypedef int (*NumberFromNameFunction)(const void*, const uint8_t*) noexcept nogil

cdef struct Library:
    CompileFunction compile
    FreeFunction code_free
    CreateFromPatternFunction match_data_create_from_pattern
    FreeFunction match_data_free
    OffsetsFunction get_ovector_pointer
    MatchFunction match
    JitCompileFunction jit_compile
    JitStackCreateFunction jit_stack_create
    JitStackAssignFunction jit_stack_assign
    CreateFunction compile_context_create
    CreateFunction match_context_create
    SetNumberFunction set_newline
    SetNumberFunction set_match_limit
    SetNumberFunction set_depth_limit
    SetNumberFunction set_heap_limit
    PatternInfoFunction pattern_info
    ErrorMessageFunction get_error_message
    NumberFromNameFunction substring_number_from_name

cdef Library pcre2
cdef void* compile_context = NULL
cdef void* match_context = NULL

# Limits of one match. Measured with "(a+)+$" and friends on runs of "a" (see tests/native/test_regex.py): the match
# limit is what ends a catastrophic pattern, after at most some milliseconds; ordinary route patterns use below 100.
cdef enum:
    MATCH_LIMIT = 100_000
    DEPTH_LIMIT = 10_000         # backtracking depth of the interpreter (where there is no JIT)
    HEAP_LIMIT_KIB = 1_024
    JIT_STACK_START = 32 * 1024
    JIT_STACK_MOST = 512 * 1024

cdef extern from *:
    """
    /* One JIT stack per thread that matches; made at its first match and kept. */
    static _Thread_local void* gateway_jit_stack;
    """
    void* thread_jit_stack "gateway_jit_stack"


cdef void* jit_stack_of_this_thread(void* unused) noexcept nogil:
    global thread_jit_stack
    if thread_jit_stack is NULL:
        # NULL again (no memory) makes PCRE2 use 32 KiB of the machine stack
        thread_jit_stack = pcre2.jit_stack_create(JIT_STACK_START, JIT_STACK_MOST, NULL)
    return thread_jit_stack


cdef void* symbol(void* library, str name) except NULL:
    encoded = f"pcre2_{name}_8".encode()
    cdef void* found = dlsym(library, encoded)
    if found is NULL:
        raise ImportError(f"libpcre2-8.so.0 has no {encoded.decode()}; the gateway needs PCRE2 10.34 or later "
                          "(Debian package libpcre2-8-0)")
    return found


cdef int load_library() except -1:
    global compile_context, match_context
    cdef void* library = dlopen("libpcre2-8.so.0", RTLD_NOW | RTLD_LOCAL)
    if library is NULL:
        raise ImportError("libpcre2-8.so.0 is not installed; regular expressions in routes need it "
                          "(Debian and Ubuntu: apt-get install libpcre2-8-0)")
    pcre2.compile = <CompileFunction> symbol(library, "compile")
    pcre2.code_free = <FreeFunction> symbol(library, "code_free")
    pcre2.match_data_create_from_pattern = \
        <CreateFromPatternFunction> symbol(library, "match_data_create_from_pattern")
    pcre2.match_data_free = <FreeFunction> symbol(library, "match_data_free")
    pcre2.get_ovector_pointer = <OffsetsFunction> symbol(library, "get_ovector_pointer")
    pcre2.match = <MatchFunction> symbol(library, "match")
    pcre2.jit_compile = <JitCompileFunction> symbol(library, "jit_compile")
    pcre2.jit_stack_create = <JitStackCreateFunction> symbol(library, "jit_stack_create")
    pcre2.jit_stack_assign = <JitStackAssignFunction> symbol(library, "jit_stack_assign")
    pcre2.compile_context_create = <CreateFunction> symbol(library, "compile_context_create")
    pcre2.match_context_create = <CreateFunction> symbol(library, "match_context_create")
    pcre2.set_newline = <SetNumberFunction> symbol(library, "set_newline")
    pcre2.set_match_limit = <SetNumberFunction> symbol(library, "set_match_limit")
    pcre2.set_depth_limit = <SetNumberFunction> symbol(library, "set_depth_limit")
    pcre2.set_heap_limit = <SetNumberFunction> symbol(library, "set_heap_limit")
    pcre2.pattern_info = <PatternInfoFunction> symbol(library, "pattern_info")
    pcre2.get_error_message = <ErrorMessageFunction> symbol(library, "get_error_message")
    pcre2.substring_number_from_name = <NumberFromNameFunction> symbol(library, "substring_number_from_name")

    compile_context = pcre2.compile_context_create(NULL)
    match_context = pcre2.match_context_create(NULL)
    if compile_context is NULL or match_context is NULL:
        raise MemoryError
    # a build of PCRE2 may have another idea of what ends a line; Rust has one
    pcre2.set_newline(compile_context, PCRE2_NEWLINE_LF)
    pcre2.set_match_limit(match_context, MATCH_LIMIT)
    pcre2.set_depth_limit(match_context, DEPTH_LIMIT)
    pcre2.set_heap_limit(match_context, HEAP_LIMIT_KIB)
    pcre2.jit_stack_assign(match_context, jit_stack_of_this_thread, NULL)
    return 0


load_library()


# --- compile, match, free --------------------------------------------------------------------------------------------
cdef void* compile_code(const uint8_t* pattern, uint32_t length, uint32_t options, int* error,
                        size_t* error_offset) noexcept nogil:
    cdef uint32_t index
    # \C (a single code unit) would let a match end inside a character
    options |= PCRE2_DOLLAR_ENDONLY | PCRE2_NEVER_BACKSLASH_C
    for index in range(length):
        if pattern[index] >= 0x80:
            options |= PCRE2_UTF | PCRE2_MATCH_INVALID_UTF
            break
    return pcre2.compile(pattern, length, options, error, error_offset, compile_context)


cdef Regex* compile_regex(const uint8_t* pattern, uint32_t length, uint32_t options) noexcept nogil:
    cdef int error = 0
    cdef size_t error_offset = 0
    cdef Regex* regex = <Regex*> calloc(1, sizeof(Regex))
    if regex is NULL:
        return NULL
    regex.code = compile_code(pattern, length, options, &error, &error_offset)
    if regex.code is NULL:
        regex_free(regex)
        return NULL
    # without JIT (not built in, or no executable memory) the interpreter does the work
    pcre2.jit_compile(regex.code, PCRE2_JIT_COMPLETE)
    regex.match_data = pcre2.match_data_create_from_pattern(regex.code, NULL)
    if regex.match_data is NULL:
        regex_free(regex)
        return NULL
    regex.offsets = pcre2.get_ovector_pointer(regex.match_data)
    regex.users = 1
    return regex


cdef Regex* regex_compile(const uint8_t* pattern, uint32_t length) noexcept nogil:
    return compile_regex(pattern, length, 0)


cdef Regex* regex_compile_anchored(const uint8_t* pattern, uint32_t length) noexcept nogil:
    return compile_regex(pattern, length, PCRE2_ANCHORED)


cdef void regex_free(Regex* regex) noexcept nogil:
    if regex is NULL:
        return
    if regex.users > 1:
        regex.users -= 1
        return
    if regex.match_data is not NULL:
        pcre2.match_data_free(regex.match_data)
    if regex.code is not NULL:
        pcre2.code_free(regex.code)
    free(regex)


cdef uint32_t limit_in_force = MATCH_LIMIT


cdef int regex_match(Regex* regex, const uint8_t* subject, uint32_t length,
                     uint32_t* groups, uint32_t* group_count) noexcept nogil:
    return regex_match_within(regex, subject, length, groups, group_count, MATCH_LIMIT)


cdef int regex_match_within(Regex* regex, const uint8_t* subject, uint32_t length, uint32_t* groups,
                            uint32_t* group_count, uint32_t match_limit) noexcept nogil:
    global limit_in_force
    if match_limit != limit_in_force:
        pcre2.set_match_limit(match_context, match_limit)
        limit_in_force = match_limit
    cdef int found = pcre2.match(regex.code, subject, length, 0, 0, regex.match_data, match_context)
    cdef uint32_t index, count
    if found < 0:
        return REGEX_NO_MATCH if found == PCRE2_ERROR_NOMATCH else REGEX_LIMIT
    if groups is not NULL:
        count = <uint32_t> found if found < REGEX_MAX_GROUPS else REGEX_MAX_GROUPS
        for index in range(2 * count):
            # PCRE2_UNSET is ~0, so an unset group becomes 0xffffffff
            groups[index] = <uint32_t> regex.offsets[index]
        if group_count is not NULL:
            group_count[0] = count
    return REGEX_MATCH


cdef uint32_t regex_group_number(const Regex* regex, const char* name) noexcept nogil:
    cdef int number = pcre2.substring_number_from_name(regex.code, <const uint8_t*> name)
    return <uint32_t> number if number > 0 else 0


cdef bint regex_group_name(const Regex* regex, uint32_t index, const char** name, uint32_t* number) noexcept nogil:
    cdef uint32_t count = 0
    cdef uint32_t size = 0
    cdef const uint8_t* table = NULL
    pcre2.pattern_info(regex.code, PCRE2_INFO_NAMECOUNT, &count)
    if index >= count:
        return False
    pcre2.pattern_info(regex.code, PCRE2_INFO_NAMEENTRYSIZE, &size)
    pcre2.pattern_info(regex.code, PCRE2_INFO_NAMETABLE, &table)
    # an entry: the number in two bytes, most significant first, then the name and a NUL
    table += index * size
    number[0] = <uint32_t> table[0] << 8 | table[1]
    name[0] = <const char*> table + 2
    return True


# --- for Python ------------------------------------------------------------------------------------------------------
cdef str error_text(int error, size_t offset):
    cdef uint8_t text[256]
    cdef int length = pcre2.get_error_message(error, text, sizeof(text))
    reason = text[:length].decode() if length > 0 else f"PCRE2 error {error}"
    return f"{reason} at offset {offset}"


def check_pattern(str pattern) -> str | None:
    """Why `pattern` does not compile ("missing closing parenthesis at offset 3"), or None when it does."""
    encoded = pattern.encode("utf-8", "surrogatepass")
    cdef int error = 0
    cdef size_t offset = 0
    cdef void* code = compile_code(encoded, <uint32_t> len(encoded), 0, &error, &offset)
    if code is NULL:
        return error_text(error, offset)
    pcre2.code_free(code)
    return None


cdef class CompiledPattern:
    """One pattern, matched by the code and under the limits of the request path. For tests and /explain."""
    cdef Regex* regex

    def __cinit__(self, pattern: str | bytes, *, bint anchored=False):
        encoded = pattern.encode() if isinstance(pattern, str) else bytes(pattern)
        cdef int error = 0
        cdef size_t offset = 0
        cdef void* code
        self.regex = compile_regex(encoded, <uint32_t> len(encoded), PCRE2_ANCHORED if anchored else 0)
        if self.regex is NULL:
            code = compile_code(encoded, <uint32_t> len(encoded), 0, &error, &offset)
            if code is not NULL:
                pcre2.code_free(code)
                raise MemoryError
            raise ValueError(error_text(error, offset))

    def __dealloc__(self):
        regex_free(self.regex)

    def match(self, subject: bytes) -> tuple[RegexResult, list[tuple[int, int] | None]]:
        """The result and, on a match, the (start, end) of every group up to the last that took part."""
        cdef uint32_t groups[2 * REGEX_MAX_GROUPS]
        cdef uint32_t count = 0, index
        cdef const uint8_t* text = subject
        cdef int result = regex_match(self.regex, text, <uint32_t> len(subject), groups, &count)
        found = []
        for index in range(count):
            unset = groups[2 * index] == 0xffffffff
            found.append(None if unset else (groups[2 * index], groups[2 * index + 1]))
        return RegexResult(result), found

    @property
    def names(self) -> dict[str, int]:
        """Named groups and their numbers."""
        cdef const char* name
        cdef uint32_t number
        cdef uint32_t index = 0
        found = {}
        while regex_group_name(self.regex, index, &name, &number):
            found[name.decode()] = number
            index += 1
        return dict(sorted(found.items(), key=lambda item: item[1]))

    @property
    def jit(self) -> bool:
        cdef size_t size = 0
        pcre2.pattern_info(self.regex.code, PCRE2_INFO_JITSIZE, &size)
        return size > 0
