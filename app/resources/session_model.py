"""The render session that we publish: its public names, and the wire names that they come from.

Knows both sorts of names. Must not know calls, paths or HTTP. Source of the fields: the vendor's
page of community.getSession.
"""

from functools import cached_property
from typing import Annotated

from pydantic import AliasChoices, BaseModel, BeforeValidator, Field, ValidationInfo, computed_field

from app.resources.ids import MAX_ID
from app.resources.progress import Progress, State, frames_total, progress_of
from app.resources.wire import (
    Id,
    Instant,
    Integer,
    Number,
    Struct,
    Text,
    Url,
    drifted,
    keyed_structs,
    keyed_urls,
    struct_or,
)

STATES = {
    "sumit": State.SUBMIT,  # the vendor's own spelling
    "submit": State.SUBMIT,
    "submitted": State.SUBMIT,
    "accept": State.ACCEPT,
    "active": State.ACTIVE,
    "completed": State.COMPLETED,
    "cancel": State.CANCELLED,
    "canceled": State.CANCELLED,
    "cancelled": State.CANCELLED,
    "rejected": State.REJECTED,
}


def _state(value: object, info: ValidationInfo) -> State:
    known = STATES.get(value.strip().lower()) if isinstance(value, str) else None
    if known is None and isinstance(value, str):  # a wrong type is told by upstreamState
        drifted(info)
    return known or State.UNKNOWN


class Thumbnail(BaseModel):  # made by keyed_urls: it has no members to count
    """One preview image."""

    id: str = Field(description="The farm's id of the image, text.")
    url: str = Field(description="Its address.", json_schema_extra={"format": "uri"})


class License(Struct):
    """A licence that the session's files are under."""

    name: Text = Field(None, description="Its name, as in `CC by-nc-sa`.")
    url: Url = Field(None, description="Its text.")


class Timestamps(Struct):
    """When each step of the session's life happened, in UTC; null for what has not."""

    register_: Instant = Field(  # "register" is a method of every model
        None, validation_alias="register", serialization_alias="register"
    )
    submit: Instant = None
    test_begin: Instant = None
    test_end: Instant = None
    accept: Instant = None
    preprocessing_begin: Instant = None
    preprocessing_end: Instant = None
    render_begin: Instant = None
    render_end: Instant = None
    postprocessing_begin: Instant = None
    postprocessing_end: Instant = None
    encode_begin: Instant = None
    encode_end: Instant = None


class Attachment(Struct):
    """A file that was attached to the session."""

    id: str = Field(description="The farm's id of the file, text.")
    url: Url = Field(None, description="Where to get it.")
    path: Text = Field(None, description="Where the Blender file looks for it.")
    size: Integer = Field(None, description="Bytes.")
    description: Text = Field(None, description="What its owner says about it.")


class BlendFile(Struct):
    """A Blender file that was sent to be rendered."""

    id: str = Field(description="The farm's id of the file, text.")
    url: Url = Field(None, description="Where to get it.")
    size: Integer = Field(None, description="Bytes.")
    md5: Text = Field(None, description="MD5 checksum of its bytes, in hexadecimal.")


class Session(Struct):
    """A render session. Every field is always present; null where the farm left it out."""

    id: Id = Field(
        description="The session's number.", json_schema_extra={"minimum": 1, "maximum": MAX_ID}
    )
    title: Text = Field(None, description="The name that its owner gave it.")
    state: Annotated[State, BeforeValidator(_state)] = Field(
        None, validate_default=True, description="The farm's state, its spellings made one."
    )
    upstreamState: Text = Field(
        None, validation_alias=AliasChoices("state"), description="The state as the farm wrote it."
    )
    userId: Integer = Field(
        None,
        validation_alias=AliasChoices("userid", "userId", "userID"),
        description="The farm's number of the session's owner.",
    )
    startFrame: Integer = Field(None, description="First frame.")
    endFrame: Integer = Field(None, description="Last frame.")
    xResolution: Integer = Field(None, description="Width in pixels.")
    yResolution: Integer = Field(None, description="Height in pixels.")
    partsPerFrame: Integer = Field(None, description="Parts that a frame is cut into.")
    partsTotal: Integer = Field(None, description="Parts of all frames.")
    partsRendered: Integer = Field(None, description="Parts rendered so far.")
    framesRendered: Integer = Field(None, description="Frames rendered so far.")
    frameRate: Number = Field(None, description="Frames per second.")
    cpuTimeRendered: Number = Field(None, description="Seconds of computing so far.")
    cpuRendered: Number = Field(None, description="The farm does not document its meaning.")
    streamURL: Url = Field(None, description="The finished animation.")
    thumbnails: Annotated[list[Thumbnail], BeforeValidator(keyed_urls)] = Field(
        [], description="Preview images, in the order of their ids."
    )
    inputLicense: Annotated[License | None, struct_or(lambda: None)] = Field(
        None,
        validation_alias=AliasChoices("inputLicence", "inputLicense"),
        description="Of the files that were sent.",
    )
    outputLicense: Annotated[License | None, struct_or(lambda: None)] = Field(
        None,
        validation_alias=AliasChoices("outputLicence", "outputLicense"),
        description="Of the finished animation.",
    )
    timestamps: Annotated[Timestamps, struct_or(dict)] = Field(
        None, validate_default=True, description="When each step happened."
    )
    attachments: Annotated[list[Attachment], BeforeValidator(keyed_structs)] = Field(
        [], description="Files that the Blender files need, in the order of their ids."
    )
    blendFiles: Annotated[list[BlendFile], BeforeValidator(keyed_structs)] = Field(
        [], description="The Blender files, in the order of their ids."
    )

    @computed_field  # type: ignore[prop-decorator]
    @cached_property
    def progress(self) -> Progress:
        """How far the session is, derived from all of the above."""
        return progress_of(
            self.state,
            {name for name, moment in vars(self.timestamps).items() if moment is not None},
            parts=(self.partsRendered, self.partsTotal),
            frames=(self.framesRendered, frames_total(self.startFrame, self.endFrame)),
            streamable=self.streamURL is not None,
        )
