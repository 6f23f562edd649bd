"""Changing a declarative file without touching what stays the same.

`plan` says what the document holds after a change (`forms`: how an entity is written down), `edit` changes
the text so that it says that: it knows where the parts stand (`nodes`) and how new ones are written
(`rendering`).
"""
