"""A visitor's login at the farm: sealed cookies, and the three steps of OAuth 1.0 (RFC 5849).

Knows cookies, return addresses and the steps. Must not know how the farm is spoken to, nor what a
visitor does once logged in.
"""
