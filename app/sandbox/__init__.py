"""The fake farm: a program of its own. Knows the codec and its data; must not know the gateway."""
