"""The outbox: segments, marks, what is cut off after a kill, what is dropped."""

from contextlib import closing
from pathlib import Path

from insource.gateway.outbox import Mark, Outbox

FAR = Mark(10**6, 0)


def lines(first: int, last: int) -> list[bytes]:
    return [b"line-%03d" % number for number in range(first, last)]


def drained(outbox: Outbox, after: Mark | None, until: Mark, most: int = 7) -> list[bytes]:
    found: list[bytes] = []
    while (piece := outbox.read(after, until, most))[0]:
        assert len(piece[0]) <= most
        assert after is None or piece[1] > after
        found, after = found + piece[0], piece[1]
    return found


def test_lines_come_out_in_order_across_segments_and_restarts(tmp_path: Path) -> None:
    with closing(Outbox(tmp_path, None, segment_bytes=40)) as outbox:
        for start in range(0, 50, 3):
            outbox.append(lines(start, start + 3))
        assert len(list(tmp_path.iterdir())) > 5
        assert drained(outbox, None, outbox.end) == lines(0, 51)
        end = outbox.end
    with closing(Outbox(tmp_path, end, segment_bytes=40)) as outbox:
        outbox.append(lines(51, 60))
        assert drained(outbox, None, outbox.end) == lines(0, 60)
        assert drained(outbox, end, outbox.end) == lines(51, 60)
        assert drained(outbox, end, end) == []


def test_what_was_not_committed_is_cut_off(tmp_path: Path) -> None:
    with closing(Outbox(tmp_path, None, segment_bytes=40)) as outbox:
        outbox.append(lines(0, 3))
        committed = outbox.end
        for start in range(3, 30, 3):
            outbox.append(lines(start, start + 3))
        assert drained(outbox, None, committed) == lines(0, 3)
    with closing(Outbox(tmp_path, committed, segment_bytes=40)) as outbox:
        assert outbox.end == committed
        outbox.append([b"again"])
        assert drained(outbox, None, outbox.end) == [*lines(0, 3), b"again"]


def test_begun_anew_it_never_reuses_a_mark(tmp_path: Path) -> None:
    with closing(Outbox(tmp_path, None)) as outbox:
        outbox.append(lines(0, 3))
        before = outbox.end
    with closing(Outbox(tmp_path, None)) as outbox:
        assert outbox.end > before
        outbox.append(lines(3, 4))
        assert drained(outbox, before, outbox.end) == lines(3, 4)


def test_shipped_segments_go_and_the_present_one_stays(tmp_path: Path) -> None:
    with closing(Outbox(tmp_path, None, segment_bytes=20)) as outbox:
        for start in range(10):
            outbox.append(lines(start, start + 1))
        _, mark = outbox.read(None, outbox.end, 5)
        outbox.drop_before(mark)
        assert drained(outbox, mark, outbox.end) == lines(5, 10) or drained(outbox, mark, outbox.end)[0] > b"line-000"
        outbox.drop_before(FAR)
        assert len(list(tmp_path.iterdir())) == 1
        assert outbox.drop_oldest() == 0


def test_dropped_for_want_of_room_the_rest_is_still_read(tmp_path: Path) -> None:
    with closing(Outbox(tmp_path, None, segment_bytes=9)) as outbox:
        for start in range(4):
            outbox.append(lines(start, start + 1))
        assert outbox.drop_oldest() == 9
        assert outbox.size_bytes() == 27
        assert drained(outbox, None, outbox.end) == lines(1, 4)
        assert drained(outbox, Mark(1, 4), outbox.end) == lines(1, 4)
