"""The test suite: flat, one file per module, real parts on real ports."""
