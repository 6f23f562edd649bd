"""The addresses that names had last, kept in the prefix for a control process that starts after a crash.

It would publish names without addresses otherwise, when it starts while no name server answers.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import msgspec

from gateway.snapshot.files import write_atomically
from gateway.snapshot.resolution import Resolution, ResolutionState, ResolvedAddress

log = logging.getLogger(__name__)

Known = dict[str, tuple[ResolvedAddress, ...]]
"""addresses by name"""


class RememberedAddresses:
    """One file. Only the same master's next control process uses it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._saved: Known = {}

    def load(self) -> Known:
        """What was kept last; nothing when there is no file, or none that can be read."""
        try:
            self._saved = msgspec.json.decode(self._path.read_bytes(), type=Known)
        except FileNotFoundError:
            pass
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            log.error("%s cannot be used: %s", self._path, error)
        return self._saved

    def save(self, resolutions: Mapping[str, Resolution]) -> None:
        """Keep the addresses of these names, when they are not kept already. A file that cannot be written
        is only worth a line in the log.
        """
        known = {
            name: resolution.addresses
            for name, resolution in resolutions.items()
            if resolution.state is ResolutionState.READY
        }
        if known == self._saved:
            return
        try:
            write_atomically(self._path, msgspec.json.encode(known))
            self._saved = known
        except OSError as error:
            log.error("%s cannot be written: %s", self._path, error)
