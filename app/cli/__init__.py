"""The command line: serve, sandbox, demo, get, doctor, key, openapi."""
