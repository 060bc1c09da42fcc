"""``rfgw doctor``: what is wrong between this machine and the farm, and what to do about it.

* ``finding``: one line of the diagnosis
* ``advice``: what the settings and this machine's limits let one expect
* ``shared_cache``: the server that processes share what they keep with, if there is one
* ``way``: DNS, TCP and TLS, step by step
* ``signed_call``: one call as the gateway makes it, and what a refused signature wants instead
* ``compatibility``: whether a farm does what the gateway counts on
* ``examination``: the order of all that
"""
