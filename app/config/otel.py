"""Whether traces are wanted: by OpenTelemetry's standard variables, which its SDK reads itself.

https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
"""

import os
from collections.abc import Mapping
from importlib.util import find_spec

from app.config.environment import SettingsError

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
PROTOCOL = "http/protobuf"


def traces_wanted(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the environment names a collector for traces, and does not switch them off.

    Raises SettingsError if they are wanted in a way that is not spoken here.
    """
    named = next((name for name in ENDPOINTS if environ.get(name)), None)
    disabled = environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if named is None or disabled or environ.get("OTEL_TRACES_EXPORTER", "otlp") != "otlp":
        return False
    for name in PROTOCOLS:
        if environ.get(name, PROTOCOL) != PROTOCOL:
            raise SettingsError(f"{name}: must be {PROTOCOL}")
    if find_spec("opentelemetry.exporter") is None:
        needs = "OpenTelemetry's SDK: pip install renderfarm-gateway[otel]"
        raise SettingsError(f"{named}: needs {needs}")
    return True
