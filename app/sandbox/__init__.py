"""The farm's stand-in, a program of its own. Shares only the XML-RPC codec with the gateway."""
