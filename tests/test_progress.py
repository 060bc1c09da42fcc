"""The phase rules, one row each: the first that holds, from the end of a life to its beginning."""

import pytest

from app.resources.progress import Phase, State, frames_total, percent_of, phase_of, progress_of

ROWS: list[tuple[State, str, bool, bool, bool, Phase]] = [
    # state, timestamps that are set, all parts, any parts, streamable -> phase
    (State.REJECTED, "encode_end", True, True, True, Phase.REJECTED),
    (State.CANCELLED, "encode_end", True, True, True, Phase.CANCELLED),
    (State.COMPLETED, "", False, False, False, Phase.COMPLETED),
    (State.ACTIVE, "encode_begin encode_end", False, True, False, Phase.COMPLETED),
    (State.ACTIVE, "postprocessing_end", False, True, False, Phase.COMPLETED),
    (State.ACTIVE, "postprocessing_end encode_begin", False, True, False, Phase.ENCODING),
    (State.ACTIVE, "", True, True, True, Phase.COMPLETED),
    (State.ACTIVE, "encode_begin", True, True, True, Phase.COMPLETED),
    (State.ACTIVE, "encode_begin", True, True, False, Phase.ENCODING),
    (State.ACTIVE, "render_begin postprocessing_begin", False, True, False, Phase.POSTPROCESSING),
    (State.ACTIVE, "render_begin render_end", False, True, False, Phase.POSTPROCESSING),
    (State.ACTIVE, "render_begin", True, True, False, Phase.POSTPROCESSING),
    (State.ACTIVE, "render_begin", False, False, True, Phase.RENDERING),
    (State.ACTIVE, "", False, True, False, Phase.RENDERING),
    (State.ACCEPT, "", False, True, False, Phase.AWAITING_APPROVAL),
    (State.ACTIVE, "preprocessing_begin", False, False, False, Phase.PREPROCESSING),
    (State.ACTIVE, "", False, False, False, Phase.QUEUED),
    (State.ACCEPT, "test_begin", False, False, False, Phase.AWAITING_APPROVAL),
    (State.SUBMIT, "test_begin", False, False, False, Phase.TESTING),
    (State.SUBMIT, "test_begin test_end", False, False, False, Phase.SUBMITTED),
    (State.SUBMIT, "", False, False, False, Phase.SUBMITTED),
    (State.UNKNOWN, "test_begin", False, False, False, Phase.TESTING),
    (State.UNKNOWN, "", False, True, False, Phase.UNKNOWN),
]


@pytest.mark.parametrize(("state", "stamps", "all_parts", "any_parts", "stream", "phase"), ROWS)
def test_the_first_rule_that_holds_names_the_phase(
    state: State, stamps: str, all_parts: bool, any_parts: bool, stream: bool, phase: Phase
) -> None:
    found = phase_of(
        state,
        set(stamps.split()),
        all_parts=all_parts,
        any_parts=any_parts,
        streamable=stream,
    )
    assert found is phase


@pytest.mark.parametrize(
    ("parts", "phase"),
    [
        ((0, 0), Phase.QUEUED),
        ((None, 0), Phase.QUEUED),
        ((None, 5), Phase.QUEUED),
        ((4, 5), Phase.RENDERING),
        ((4, None), Phase.RENDERING),
        ((5, 5), Phase.POSTPROCESSING),
        ((6, 5), Phase.POSTPROCESSING),
    ],
)
def test_all_parts_are_rendered_when_there_are_some_and_none_is_left(
    parts: tuple[int | None, int | None], phase: Phase
) -> None:
    told = progress_of(State.ACTIVE, (), parts=parts, frames=(None, None), streamable=False)
    assert told.phase is phase


def test_every_phase_has_a_row() -> None:
    assert {row[-1] for row in ROWS} == set(Phase)


@pytest.mark.parametrize(
    ("start", "end", "frames"),
    [(1, 250, 250), (0, 0, 1), (-5, 5, 11), (10, 9, None), (None, 5, None), (5, None, None)],
)
def test_a_range_counts_both_its_ends(
    start: int | None, end: int | None, frames: int | None
) -> None:
    assert frames_total(start, end) == frames


@pytest.mark.parametrize(
    ("phase", "parts", "frames", "percent"),
    [
        (Phase.COMPLETED, (0, 10), (None, None), 100),
        (Phase.RENDERING, (1, 3), (3, 3), 33),
        (Phase.RENDERING, (2, 3), (None, None), 66),
        (Phase.RENDERING, (None, 3), (1, 2), 50),
        (Phase.RENDERING, (1, 0), (1, 2), 50),
        (Phase.RENDERING, (5, 3), (None, None), 100),
        (Phase.RENDERING, (-1, 3), (None, None), 0),
        (Phase.RENDERING, (None, None), (None, 10), None),
        (Phase.CANCELLED, (1, 2), (None, None), 50),
    ],
)
def test_percent_is_by_parts_else_by_frames_and_stays_in_bounds(
    phase: Phase,
    parts: tuple[int | None, int | None],
    frames: tuple[int | None, int | None],
    percent: int | None,
) -> None:
    assert percent_of(phase, parts, frames) == percent
