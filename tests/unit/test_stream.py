# SPDX-License-Identifier: MIT
"""A stream answers with the newest sample that is not after the time asked for."""

import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from difftori_ros.observation.stream_buffer import StreamBuffer, StreamStats, Unread

LATER = 10**12
MS = 1_000_000


def filled(stamps, depth=64) -> StreamBuffer[str]:
    stream: StreamBuffer[str] = StreamBuffer(depth=depth)
    for stamp in stamps:
        stream.push(stamp, f"sample {stamp}", LATER)
    return stream


def test_an_empty_stream_has_no_sample_and_no_age():
    stream: StreamBuffer[str] = StreamBuffer()
    assert stream.latest_before(LATER) is None
    assert stream.age_s(LATER) is None


def test_a_sample_stamped_at_the_time_asked_for_counts():
    assert filled([10, 20]).latest_before(20) == (20, "sample 20")
    assert filled([10, 20]).latest_before(19) == (10, "sample 10")
    assert filled([10, 20]).latest_before(9) is None


def test_the_age_counts_from_the_sample_that_would_be_used():
    stream = filled([100 * MS, 200 * MS])
    assert stream.age_s(250 * MS) == pytest.approx(0.05)
    assert stream.age_s(150 * MS) == pytest.approx(0.05)
    assert stream.age_s(200 * MS) == 0.0


@settings(deadline=None)
@given(st.lists(st.integers(1, 50), max_size=30), st.integers(1, 10), st.integers(0, 60))
def test_whatever_the_order_of_arrival_the_newest_stamps_are_kept(stamps, depth, time):
    stream = filled(stamps, depth)
    kept = sorted(set(stamps))[-depth:]
    expected = [stamp for stamp in kept if stamp <= time]
    found = stream.latest_before(time)
    assert found == ((expected[-1], f"sample {expected[-1]}") if expected else None)
    if len(set(stamps)) <= depth:
        assert stream.stats.duplicates == len(stamps) - len(set(stamps))


def test_a_second_sample_with_the_same_stamp_changes_nothing_and_is_counted():
    stream: StreamBuffer[str] = StreamBuffer()
    assert stream.push(10, "first", LATER)
    assert not stream.push(10, "second", LATER)
    assert stream.latest_before(10) == (10, "first")
    assert stream.stats == StreamStats(received=2, duplicates=1, refused=0)


def test_a_sample_older_than_all_of_a_full_stream_is_not_kept():
    stream = filled([20, 30], depth=2)
    assert not stream.push(10, "late", LATER)
    assert stream.latest_before(15) is None
    assert stream.stats == StreamStats(received=3, late=1)


@pytest.mark.parametrize("stamp", [0, -1])
def test_a_stamp_that_was_never_set_is_refused_and_counted(stamp):
    stream: StreamBuffer[str] = StreamBuffer()
    assert not stream.push(stamp, "unset", LATER)
    assert stream.latest_before(LATER) is None
    assert stream.stats == StreamStats(received=1, duplicates=0, refused=1)


def test_a_stamp_further_in_the_future_than_the_tolerance_is_refused_and_counted():
    stream: StreamBuffer[str] = StreamBuffer(future_tolerance_s=0.05)
    now = 1000 * MS
    assert stream.push(now + 50 * MS, "just right", now)
    assert not stream.push(now + 50 * MS + 1, "too far", now)
    assert stream.stats == StreamStats(received=2, duplicates=0, refused=1)


def test_a_sample_from_the_near_future_is_not_used_before_its_time():
    stream: StreamBuffer[str] = StreamBuffer()
    stream.push(1010 * MS, "ahead", 1000 * MS)
    assert stream.latest_before(1000 * MS) is None


def test_after_clear_samples_of_an_earlier_clock_are_taken_and_the_counts_go_on():
    stream = filled([900, 1000])
    stream.clear()
    assert stream.latest_before(LATER) is None
    assert stream.push(100, "again", 100)
    assert stream.latest_before(2000) == (100, "again")
    assert stream.stats.received == 3


@pytest.mark.parametrize(
    "wrong", [{"depth": 0}, {"future_tolerance_s": -1.0}, {"future_tolerance_s": float("nan")}]
)
def test_a_stream_that_could_hold_nothing_cannot_be_made(wrong):
    with pytest.raises(ValueError, match="wanted depth >= 1"):
        StreamBuffer(**wrong)


def test_a_reader_sees_whole_samples_while_others_push():
    stream: StreamBuffer[int] = StreamBuffer(depth=8)
    done = threading.Event()
    wrong: list[object] = []

    def push(first: int) -> None:
        for stamp in range(first, 20_000, 2):
            stream.push(stamp, stamp, LATER)

    def read() -> None:
        while not done.is_set():
            found = stream.latest_before(LATER)
            if found is not None and found[0] != found[1]:
                wrong.append(found)

    reader = threading.Thread(target=read)
    pushers = [threading.Thread(target=push, args=(first,)) for first in (1, 2)]
    for thread in (reader, *pushers):
        thread.start()
    for thread in pushers:
        thread.join()
    done.set()
    reader.join()
    assert not wrong
    assert stream.latest_before(LATER) == (19_999, 19_999)
    assert stream.stats.received == 19_999


def unread(stamp, text, log) -> Unread[str]:
    """A sample that says when it is read; without a text it cannot be."""

    def decode(raw: bytes) -> str:
        log.append(stamp)
        if not raw:
            raise ValueError(f"nothing in {stamp}")
        return raw.decode()

    return Unread(stamp, text.encode(), decode)


def test_of_samples_that_are_not_read_yet_only_those_asked_for_are_read_and_once():
    stream: StreamBuffer[str] = StreamBuffer()
    read: list[int] = []
    for stamp in (10, 20, 30, 40):
        assert stream.push(stamp, unread(stamp, f"sample {stamp}", read), LATER)
    assert stream.newest_ns() == 40
    assert read == []
    assert stream.around(25, LATER) == ((20, "sample 20"), (30, "sample 30"))
    assert stream.latest_before(29) == (20, "sample 20")
    assert stream.nearest(24) == (20, "sample 20")
    assert sorted(read) == [20, 30]


def test_a_sample_that_cannot_be_read_is_told_of_and_its_neighbour_taken():
    told: list[tuple[int, str]] = []
    stream: StreamBuffer[str] = StreamBuffer(
        unreadable=lambda stamp, why: told.append((stamp, why))
    )
    for stamp, text in ((10, "a"), (20, ""), (30, ""), (40, "d")):
        stream.push(stamp, unread(stamp, text, []), LATER)
    assert stream.around(25, LATER) == ((10, "a"), (40, "d"))
    assert told == [(20, "nothing in 20"), (30, "nothing in 30")]
    assert stream.latest_before(35) == (10, "a")
    assert len(told) == 2


def test_when_none_can_be_read_there_is_none():
    stream: StreamBuffer[str] = StreamBuffer()
    for stamp in (10, 20):
        stream.push(stamp, unread(stamp, "", []), LATER)
    assert stream.newest_ns() == 20
    assert stream.latest_before(LATER) is None
    assert stream.newest_ns() is None
    assert stream.around(15, LATER) == (None, None)
    assert stream.stats.received == 2
