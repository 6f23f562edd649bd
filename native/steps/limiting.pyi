from enum import IntEnum

class LimitBy(IntEnum):
    BY_CONSUMER = 0
    BY_CREDENTIAL = 1
    BY_IP = 2
    BY_SERVICE = 3
    BY_HEADER = 4
    BY_PATH = 5

class CountingPlace(IntEnum):
    COUNT_HERE = 0
    COUNT_ELSEWHERE = 1
    COUNT_AND_TELL = 2

class LimitVerb(IntEnum):
    VERB_ADMIT = 1
    VERB_TELL = 2
    VERB_LOOK = 3
    VERB_ADD = 4
