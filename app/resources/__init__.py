"""What we serve: one file per resource. Knows the list; each file knows its own facts."""

from app.resources import sessions

ROUTERS = (sessions.router,)
