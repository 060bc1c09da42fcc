"""Settings of the server: where it listens, its processes, and its log."""

from typing import Literal

from pydantic import Field, field_validator

from app.config.addresses import hosts
from app.config.base import SettingsBase
from app.config.paths import PageFolder


class ServerSettings(SettingsBase):
    """Where it listens, its processes, and its log."""

    host: str = Field(
        "127.0.0.1",
        description="Addresses to listen on, comma-separated; `unix:/path` is a Unix socket.",
    )
    port: int = Field(8000, ge=0, le=65_535, description="Port to listen on; 0 picks a free one.")
    demo_dir: PageFolder | None = Field(
        None, description="Folder of the built demo page, served at `/demo`."
    )
    workers: int = Field(1, ge=1, le=64, description="Processes that answer on the one port.")
    shutdown_grace: float = Field(
        5, ge=0, le=10, description="How long requests are still welcome after SIGTERM."
    )
    keep_alive: float = Field(
        75, ge=1, le=3600, description="How long a connection may be idle between two requests."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="The least serious log line that is written."
    )
    log_requests: bool = Field(True, description="Write a log line for every request.")
    log_format: Literal["json", "console"] = Field("json", description="`console` for people.")
    trace_hits: float = Field(
        0, ge=0, le=1, description="Share of kept answers that get a span, if traces are on."
    )

    @field_validator("host")
    @classmethod
    def _are_hosts(cls, text: str) -> str:
        if not all(hosts(text)):
            raise ValueError("must be addresses like 127.0.0.1,::1 without an empty one")
        return text

    @property
    def hosts(self) -> tuple[str, ...]:
        """The addresses to listen on."""
        return hosts(self.host)
