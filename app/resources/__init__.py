"""What we serve: one file per resource. Knows the list; each file knows its own facts."""

from app.resources import sessions

ROUTERS = (sessions.router,)

FRONT_KEYS = {"/sessions": sessions.GetSession.key_head()}
"""Heads of paths whose last segment is the call's one argument, with the head of the call's key."""

FRONT_OPERATIONS = {"/sessions": "getSession"}
"""The operationId of what is behind each of these heads."""
