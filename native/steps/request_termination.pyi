from enum import IntEnum

class Termination(IntEnum):
    TERMINATE_WITH_BODY = 0
    TERMINATE_WITH_ERROR = 1
    TERMINATE_WITH_ECHO = 2

def pack_config(
    *, kind: int, status: int, trigger: str, content_type: str, body: str, host_name: str
) -> bytes: ...
