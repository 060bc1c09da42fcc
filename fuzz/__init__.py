"""Coverage-guided fuzzing of what reads strangers' bytes: ``make fuzz``.

Each target is a module with ``check(data)``, which raises if an invariant does not hold, ``SEEDS``
to begin with, ``WORDS`` to put in, and ``REACHES``: a run that covers fewer branches is broken.
``tests/test_fuzz.py`` runs the same checks without coverage.
"""
