"""The gateway and its farm, as the project's own tests start them."""

from tests.conftest import _farm, anyio_backend, farm, gateway, start_gateway

__all__ = ["_farm", "anyio_backend", "farm", "gateway", "start_gateway"]
