"""How the gateway is run: processes, one process's server, its connections.

Knows RFC 9112, processes and signals. Must not know what is answered.
"""
