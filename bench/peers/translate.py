"""From the farm's struct to the public JSON, the obvious way. Knows dicts only."""

from datetime import UTC, datetime
from typing import Any

MOMENTS = [
    "register",
    "submit",
    "test_begin",
    "test_end",
    "accept",
    "preprocessing_begin",
    "preprocessing_end",
    "render_begin",
    "render_end",
    "postprocessing_begin",
    "postprocessing_end",
    "encode_begin",
    "encode_end",
]
PLAIN = [
    "id",
    "title",
    "startFrame",
    "endFrame",
    "xResolution",
    "yResolution",
    "frameRate",
    "partsPerFrame",
    "cpuTimeRendered",
    "partsTotal",
    "framesRendered",
    "partsRendered",
    "cpuRendered",
    "streamURL",
    "state",
]


def moment(seconds: int | None) -> str | None:
    """Unix seconds as RFC 3339 UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if seconds else None


def listed(struct: dict[str, Any] | None) -> list[dict[str, Any]]:
    """A struct of id => facts as a list of objects with an id."""
    return [{"id": key, **facts} for key, facts in (struct or {}).items()]


def translate(answer: dict[str, Any]) -> dict[str, Any]:
    """The public fields of one session."""
    timestamps = answer.get("timestamps", {})
    total, done = answer.get("partsTotal"), answer.get("partsRendered")
    return {
        **{name: answer.get(name) for name in PLAIN},
        "upstreamState": answer.get("state"),
        "userId": answer.get("userid"),
        "thumbnails": [{"id": k, "url": v} for k, v in (answer.get("thumbnails") or {}).items()],
        "inputLicense": answer.get("inputLicence"),
        "outputLicense": answer.get("outputLicence"),
        "timestamps": {name: moment(timestamps.get(name)) for name in MOMENTS},
        "attachments": listed(answer.get("attachments")),
        "blendFiles": listed(answer.get("blendFiles")),
        "progress": {
            "phase": "rendering" if timestamps.get("render_begin") else "unknown",
            "percent": 100 * done // total if total and done is not None else None,
            "framesTotal": answer["endFrame"] - answer["startFrame"] + 1,
            "framesRendered": answer.get("framesRendered"),
            "partsTotal": total,
            "partsRendered": done,
        },
    }
