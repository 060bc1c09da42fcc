"""The command line.

* ``main``: the entry, which loads nothing that takes time; ``run``: one verb and how it ends
* ``commands``: the verbs, a module for each
* ``arguments``: the options that verbs share, among them one for every setting
"""
