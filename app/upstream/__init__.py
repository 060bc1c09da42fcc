"""How the farm is spoken to: signed XML-RPC over HTTP, retries, a bulkhead and a circuit breaker.

Knows XML-RPC, RFC 5849, the farm's fault codes and the HTTP client. Must not know caching, models'
public names or statuses.
"""
