"""One line of the diagnosis, as people and as machines read it. Must not know what is examined."""

from typing import Literal, NamedTuple

Status = Literal["ok", "warn", "FAIL", "skip"]


class Finding(NamedTuple):
    """What ``check`` found: ``says`` what is, ``do`` what to do about it, if anything."""

    check: str
    status: Status
    says: str
    do: str = ""

    def line(self) -> str:
        """One line for people; nothing in it can steer a terminal."""
        told = f"{self.says}: {self.do}" if self.do else self.says
        printable = "".join(char if char.isprintable() else "?" for char in told)
        return f"{self.status:<4}  {self.check:<8}  {printable}"


def skipped(because: str, *checks: str) -> list[Finding]:
    """The checks that cannot be made, and why."""
    return [Finding(check, "skip", because) for check in checks]
