"""A REST/JSON gateway over the Renderfarm.fi XML-RPC API. This docstring is the map.

Imports point to the right only::

    cli -> doctor -> main | demo | summary -> resources -> api
        -> live -> gateway
        -> cache | upstream | flight | metrics | logs | drain -> entry -> call -> errors

* ``api`` answers clients, ``upstream`` asks the farm, ``cache`` keeps answers. ``gateway`` is the
  one place where the three meet; they are strangers to one another.
* ``live`` knows who watches what, and asks the gateway for all of them.
* ``resources`` holds what we serve, one file per resource: the facts of an upstream method stand
  together there.
* ``sandbox`` is the farm's stand-in, a program of its own that shares only the XML-RPC codec.
* ``settings`` (with ``addresses``, which judges URLs, and ``environment``, which finds the values)
  is read by ``main``, ``doctor`` and ``cli`` alone; everyone else is handed plain values.

The rules run as import contracts in ``make lint``.
"""
