"""Several processes as one, over a Redis or Valkey server.

Knows entries, bytes and Redis. Must not know freshness rules, nor what is asked.
"""
