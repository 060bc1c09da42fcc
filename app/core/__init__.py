"""What is done, without sockets, frameworks or settings: calls, kept answers, request coalescing.

Knows calls, answers, seconds and what failed. Must not know sockets, frameworks, header syntax or
settings: what it needs of the outside it declares in ``ports``.
"""
