"""See circuit.pxd."""

from native.shm cimport CIRCUIT_SIZE

assert sizeof(Circuit) == CIRCUIT_SIZE

