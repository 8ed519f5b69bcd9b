"""The sample stream: every clip once per epoch, independent of where it is entered and of the number of processes."""
from itertools import islice

from training.batches import SampleStream


def test_every_clip_is_seen_once_per_epoch():
    batches = list(islice(SampleStream(range(12), 3, seed=1), 8))
    first, second = ([index for batch in part for index, _ in batch] for part in (batches[:4], batches[4:]))
    assert sorted(first) == sorted(second) == list(range(12)) and first != second


def test_entering_late_equals_skipping():
    whole = list(islice(SampleStream(range(7), 2, seed=3), 20))
    assert list(islice(SampleStream(range(7), 2, seed=3, first=26), 7)) == whole[13:]


def test_two_processes_share_what_one_would_take():
    alone = list(islice(SampleStream(range(10), 4, seed=5), 6))
    shares = [list(islice(SampleStream(range(10), 2, seed=5, num_processes=2, process_index=rank), 6)) for rank in (0, 1)]
    assert alone == [left + right for left, right in zip(*shares)]
