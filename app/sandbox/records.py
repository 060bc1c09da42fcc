"""What the farm was asked, and how many calls at once. Must not know HTTP or what calls mean."""

from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field

from app.upstream.xmlrpc.codec import Value

KEPT = 10_000
TOLD = ("oauth_consumer_key", "oauth_signature_method", "oauth_timestamp", "oauth_version")


@dataclass
class CallRecord:
    """One call as it was asked, and how it was treated."""

    at: float
    path: str
    method: str = ""
    arguments: list[Value] = field(default_factory=list)
    parameters: dict[str, Value] = field(default_factory=dict)
    reading: str = ""
    fault: int | None = None
    problem: str = ""
    did: str = "answer"

    def tell(self, parameters: Mapping[str, Value]) -> None:
        """Keeps of the OAuth parameters what is no secret, signature or nonce."""
        self.parameters = {name: parameters[name] for name in TOLD if name in parameters}


class Records:
    """The newest ``KEPT`` records, how many there were since ``forget``, and how many at once."""

    def __init__(self) -> None:
        self.in_flight = 0
        self.forget()

    def forget(self) -> None:
        self.newest: deque[CallRecord] = deque(maxlen=KEPT)
        self.total = 0
        self.most_at_once = self.in_flight

    @contextmanager
    def flight(self, record: CallRecord) -> Iterator[None]:
        """Counts ``record`` as under way until the reply is out."""
        self.newest.append(record)
        self.total += 1
        self.in_flight += 1
        self.most_at_once = max(self.most_at_once, self.in_flight)
        try:
            yield
        finally:
            self.in_flight -= 1

    def told(self) -> dict[str, object]:
        """All of it, oldest record first."""
        return {
            "total": self.total,
            "in_flight": self.in_flight,
            "most_at_once": self.most_at_once,
            "records": [asdict(record) for record in self.newest],
        }
