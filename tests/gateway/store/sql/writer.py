"""A process that writes to a SQLite file until it is killed, and says what was acknowledged.

Arguments: the file, a prefix of names, how many transactions (0: without end). Each transaction adds one
consumer with two credentials, takes one of its predecessor away, and tries a name that all writers want.
"""

from __future__ import annotations

import sys
from pathlib import Path

from gateway.store.draft import Draft
from gateway.store.sql.sqlite import SqliteDatabase
from gateway.store.sql.store import SqlStore
from tests.support.nodes import add, add_unless_taken, consumer, done, key_of, operation


def main() -> None:
    path, prefix, turns = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    store = SqlStore(SqliteDatabase(path))
    store.open()
    print("open", flush=True)
    number = 0
    while not turns or number < turns:
        owner = consumer(f"{prefix}{number}")
        kept, given_up = key_of(owner, f"{prefix}{number} kept"), key_of(owner, f"{prefix}{number} given up")

        def take_away(draft: Draft, name: str = f"{prefix}{number - 1} given up") -> None:
            found = draft.find_unique("keyauth_credentials", "key", name)
            if found is not None:
                draft.remove(found)

        outcomes = store.transact(
            [add(owner, kept, given_up), operation(take_away), add_unless_taken(f"shared {number}")]
        )
        done(outcomes[:2])
        won = outcomes[2].error is None
        print(f"{prefix}{number} {'won' if won else 'lost'}", flush=True)
        number += 1
    store.close()


main()
