"""What an answer is: problems, caching headers, lists, streams.

Knows RFC 9110, 9111, 9211 and 9457, and how our errors become statuses. Must not know where errors
come from, nor the upstream.
"""
