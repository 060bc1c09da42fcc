"""The session as pydantic models, for the peers that declare a response_model."""

from datetime import datetime

from pydantic import BaseModel, Field


class License(BaseModel):
    name: str
    url: str


class Thumbnail(BaseModel):
    id: str
    url: str


class Attachment(Thumbnail):
    path: str | None
    size: int | None
    description: str | None


class BlendFile(Thumbnail):
    size: int | None
    md5: str | None


class Timestamps(BaseModel):
    register_: datetime | None = Field(alias="register")  # every model has a method register
    submit: datetime | None
    test_begin: datetime | None
    test_end: datetime | None
    accept: datetime | None
    preprocessing_begin: datetime | None
    preprocessing_end: datetime | None
    render_begin: datetime | None
    render_end: datetime | None
    postprocessing_begin: datetime | None
    postprocessing_end: datetime | None
    encode_begin: datetime | None
    encode_end: datetime | None


class Progress(BaseModel):
    phase: str
    percent: int | None
    framesTotal: int | None
    framesRendered: int | None
    partsTotal: int | None
    partsRendered: int | None


class Session(BaseModel):
    id: int
    title: str | None
    state: str
    upstreamState: str | None
    userId: int | None
    startFrame: int | None
    endFrame: int | None
    xResolution: int | None
    yResolution: int | None
    partsPerFrame: int | None
    partsTotal: int | None
    partsRendered: int | None
    framesRendered: int | None
    frameRate: float | None
    cpuTimeRendered: float | None
    cpuRendered: float | None
    streamURL: str | None
    thumbnails: list[Thumbnail]
    inputLicense: License | None
    outputLicense: License | None
    timestamps: Timestamps
    attachments: list[Attachment]
    blendFiles: list[BlendFile]
    progress: Progress
