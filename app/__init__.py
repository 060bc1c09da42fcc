"""A REST/JSON gateway over the Renderfarm.fi XML-RPC API. This docstring is the map.

Imports point to the right only::

    cli -> doctor -> main | workers | demo | summary -> server -> connection
        -> parts | sharing -> resources
        -> api -> live -> gateway -> cache | upstream | flight | metrics | drain
        -> logs -> lines | timings | trace -> answer | keeping -> entry -> call -> errors

* ``api`` answers clients, ``upstream`` asks the farm, ``cache`` keeps answers. ``gateway`` is the
  one place where the three meet; they are strangers to one another.
* ``main`` connects everything; ``parts`` makes the farm and the gateway, ``sharing`` what several
  processes have in common. ``workers``, ``server`` and ``connection`` run it: processes, leaving,
  sockets and deadlines.
* ``live`` knows who watches what, and asks the gateway for all of them.
* ``resources`` holds what we serve, one file per resource: the facts of an upstream method stand
  together there.
* ``sandbox`` is the farm's stand-in, a program of its own that shares only the XML-RPC codec.
* ``settings`` (with ``addresses`` and ``paths``, which judge URLs and files, and ``environment``,
  which finds the values) is read by those that make parts, by ``doctor`` and by ``cli``; all
  others get plain values.

The rules run as import contracts in ``make lint``.
"""
