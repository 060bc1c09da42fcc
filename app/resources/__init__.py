"""What we serve: one file per resource. Knows the list; each file knows its own facts."""

from app.core.call import Call
from app.edge.fast_path import FastRoute
from app.login import routes as login_routes
from app.resources import accounts, my_sessions, sessions

ROUTERS = (sessions.router, login_routes.router, my_sessions.router, accounts.router)

CALLS: tuple[type[Call], ...] = (sessions.GetSession, accounts.CreateUserAccount)
"""What the farm is asked."""

VISITORS = frozenset({"login", "logout", "me"})
"""First segments of the paths for visitors who log in."""

ACCOUNTS = frozenset({"accounts"})
"""First segment of the paths for clients that make accounts."""

LISTS = {"/sessions": "ids", "/sessions/events": "ids"}
"""Paths that answer many at once, and the query parameter that lists their ids."""

FAST_ROUTES = {"/sessions": FastRoute("getSession", sessions.GetSession)}
"""Heads of paths whose last segment is the call's one argument, and what is served below each."""
