"""Fields that several plugins have alike, and where plugins may be used."""

from __future__ import annotations

from gateway.entities.fields import Array, Boolean, Field, Text
from gateway.entities.services import PROTOCOLS
from gateway.entities.value_checks import control_character_problem

ANY_PROTOCOL = PROTOCOLS
"""Of plugins that are for HTTP unless something else is said."""
NO_CONSUMER = frozenset(("route", "service"))
"""The scopes of plugins that run before the consumer is known."""

ANONYMOUS = Text(
    "The id or username of the consumer that requests are for when nothing authenticates them; "
    "without one they are refused."
)
HIDE_CREDENTIALS = Boolean("Whether the upstream does not see the credential.", required=True)
REALM = Text("The realm that WWW-Authenticate names.", required=False, rule=control_character_problem)
RUN_ON_PREFLIGHT = Boolean("Whether OPTIONS requests must authenticate, too.", required=True)


def any_piece(piece: str) -> str | None:
    """In forms, commas always separate the elements of a list."""
    return None


def texts_field(doc: str, element: str) -> Field:
    """An array of texts."""
    return Array(doc, elements=Text(element), pieces=any_piece)
