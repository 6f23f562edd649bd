from enum import IntEnum

class Generator(IntEnum):
    GENERATE_UUID = 0
    GENERATE_COUNTER = 1
    GENERATE_TRACKER = 2

def pack_config(*, header: str, generator: int, echoes: bool) -> bytes: ...
