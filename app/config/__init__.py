"""What the operator sets: settings, where values come from, how addresses and paths are judged."""
