"""The one session that every bench asks for, on the wire and as JSON. Must not know any server."""

import json
import xmlrpc.client
from typing import Any

from bench.peers.translate import translate

ID = 4711
PLACEHOLDER = 1234567890  # an id that no run asks for, as long as the longest one that it may


def wire_session() -> dict[str, Any]:
    """The farm's answer for a session that is being rendered: about 6 kB of XML-RPC."""
    base = "https://files.example.invalid/sessions/4711"
    licence = {
        "name": "CC by-nc-sa",
        "url": "https://creativecommons.org/licenses/by-nc-sa/3.0/",
    }
    return {
        "id": PLACEHOLDER,
        "title": "The long way home: shot 12, night, second light",
        "startFrame": 1,
        "endFrame": 250,
        "xResolution": 1920,
        "yResolution": 1080,
        "frameRate": 25,
        "partsPerFrame": 4,
        "thumbnails": {str(n): f"{base}/thumbnails/{n:04}.jpg" for n in range(1, 9)},
        "streamURL": f"{base}/stream.mp4",
        "cpuTimeRendered": 481233,
        "inputLicence": licence,
        "outputLicence": licence,
        "timestamps": {
            "register": 1270544373,
            "submit": 1270544374,
            "test_begin": 1270544376,
            "test_end": 1270544384,
            "accept": 1270545000,
            "preprocessing_begin": 1270545001,
            "preprocessing_end": 1270545100,
            "render_begin": 1270545101,
        },
        "attachments": {
            str(n): {
                "url": f"{base}/attachments/{n}",
                "path": f"textures/wall-{n}.png",
                "size": 204800 + n,
                "description": "Wall of the house, seen from the street",
            }
            for n in range(31, 34)
        },
        "partsTotal": 1000,
        "framesRendered": 103,
        "partsRendered": 415,
        "cpuRendered": 12,
        "state": "active",
        "blendFiles": {
            "77": {
                "url": f"{base}/scene.blend",
                "size": 73400320,
                "md5": "0cc175b9c0f1b6a831c399e269772661",
            }
        },
        "userid": 881,
    }


def answer_xml() -> bytes:
    """The same as a methodResponse, with i4 as the vendor writes it and PLACEHOLDER as the id.

    The vendor's own label (utf-16 on single-byte text) is left out: `xmlrpc.client` refuses it,
    so no peer that uses it could take part.
    """
    text = xmlrpc.client.dumps((wire_session(),), methodresponse=True)
    return text.replace("int>", "i4>").encode()


def answer_json() -> bytes:
    """The same as the public JSON, compact."""
    return json.dumps(translate(wire_session()) | {"id": ID}, separators=(",", ":")).encode()
