"""What we serve: one file per resource. Knows the list; each file knows its own facts."""

from app.api.front import Served
from app.resources import sessions

ROUTERS = (sessions.router,)

CALLS = (sessions.GetSession,)

FRONT = {"/sessions": Served("getSession", sessions.GetSession)}
"""Heads of paths whose last segment is the call's one argument, and what is served below each."""
