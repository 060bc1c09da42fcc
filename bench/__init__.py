"""Measured comparisons: the gateway beside what one would use instead. See bench/README.md."""
