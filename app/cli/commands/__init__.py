"""The verbs: each module adds its options to the command line, and loads what it needs to run."""
