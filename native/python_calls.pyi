from enum import IntEnum

class PluginPhase(IntEnum):
    PHASE_REWRITE = 1
    PHASE_ACCESS = 2
    PHASE_RESPONSE = 4
    PHASE_LOG = 8
    FORGET_REQUEST = 16

class PluginOption(IntEnum):
    BUFFER_REQUEST = 1
    BUFFER_RESPONSE = 2
