"""An address that is listened on, as people write it."""


def url_of(host: str, port: int = 0) -> str:
    """``http://127.0.0.1:8000``, an IPv6 address in brackets; a Unix socket is told as it is."""
    if not port:
        return host
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
