"""The cache of rendered clips: resumable, and what training reads from it."""
import os
import resource
import shutil
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from conftest import mean_colour
from dwpose.skeleton import HANDS
from synthetic.clips import CachedClips, encode_cache, HELD_OUT_SEED, move_cache, open_array, reach, render_cache, sample_clip

SIZE = (64, 64)


def test_the_cache_holds_what_the_seeds_give(clip_cache):
    clip = sample_clip(41, num_frames=4, fps=5, size=SIZE)
    assert np.array_equal(open_array(clip_cache, "frames")[1, 1:], clip.frames)
    assert np.array_equal(open_array(clip_cache, "frames")[1, 0], clip.reference)
    assert np.array_equal(open_array(clip_cache, "keypoints")[1, 1:], clip.skeleton.keypoints)


def test_an_interrupted_preparation_does_only_what_is_missing(clip_cache):
    frames, rendered = open_array(clip_cache, "frames", writable=True), open_array(clip_cache, "rendered", writable=True)
    kept = frames[0].copy()
    frames[0], frames[2] = 7, 9
    rendered[2] = False
    render_cache(clip_cache, first_seed=40, num_clips=3, num_frames=4, fps=5, size=SIZE, workers=1)
    assert (frames[0] == 7).all() and not (frames[2] == 9).all()
    frames[0] = kept


@pytest.mark.parametrize("changed, said", [
    (dict(num_frames=5), "num_frames: 4 there, 5 now"), (dict(fps=6), "fps: 5 there, 6 now"), (dict(num_clips=4), "num_clips: 3 there, 4 now"),
    (dict(first_seed=HELD_OUT_SEED), "first_seed: 40 there, 1000000 now")])
def test_other_clips_are_refused_in_a_cache_and_the_difference_is_named(clip_cache, changed, said):
    before = open_array(clip_cache, "rendered").tolist()
    with pytest.raises(ValueError, match=f"frames.json: made with other settings .{said}.: use the same ones, or another folder"):
        render_cache(clip_cache, **dict(first_seed=40, num_clips=3, num_frames=4, fps=5, size=SIZE, workers=1) | changed)
    assert open_array(clip_cache, "rendered").tolist() == before


def test_seeds_that_are_held_out_and_others_do_not_share_a_cache(tmp_path):
    with pytest.raises(ValueError, match="expected seeds below 1000000 or from there on"):
        render_cache(tmp_path / "mixed", first_seed=HELD_OUT_SEED - 1, num_clips=2, num_frames=1, fps=5, size=SIZE, workers=1)
    assert not (tmp_path / "mixed").exists()


@pytest.mark.parametrize("what, name", [("frames", "latents"), ("poses", "pose_latents"), ("moved", "moved_latents")])
def test_latents_of_other_weights_are_refused_and_so_are_those_of_unknown_ones(clip_cache, tmp_path, what, name):
    with pytest.raises(ValueError, match=f"{name}.json: made with other settings .vae: mean there, another now.: .*or delete {name}.*made anew"):
        encode_cache(clip_cache, None, {"vae": "another"}, what=what)
    cache = shutil.copytree(clip_cache, tmp_path / "cache")
    (cache / f"{name}.json").unlink()
    with pytest.raises(ValueError, match=f"{name}.npy: expected {name}.json beside it"):
        encode_cache(cache, None, {"vae": "mean"}, what=what)


def test_clips_that_are_not_ready_are_told(clip_cache, tmp_path, caplog):
    cache = shutil.copytree(clip_cache, tmp_path / "cache")
    open_array(cache, "rendered", writable=True)[1:] = False
    for path in cache.glob("latents*"):
        path.unlink()
    encode_cache(cache, mean_colour, {"vae": "mean"})
    assert "2 of 3 clips are left out: not yet rendered" in caplog.text
    assert open_array(cache, "latents_done").tolist() == [True, False, False]


def test_an_array_that_was_cut_short_is_named(clip_cache, tmp_path):
    cache = shutil.copytree(clip_cache, tmp_path / "cache")
    os.truncate(cache / "frames.npy", 1000)
    for opening in (lambda: CachedClips(cache, 1), lambda: open_array(cache, "frames", writable=True)):
        with pytest.raises(ValueError, match="frames.npy: expected a whole array .*prepare the clips in another folder"):
            opening()
    assert (cache / "frames.npy").stat().st_size == 1000


@pytest.mark.parametrize("lost, make", [
    ("frames", lambda cache: render_cache(cache, first_seed=40, num_clips=3, num_frames=4, fps=5, size=SIZE, workers=1)),
    ("moved", lambda cache: move_cache(cache, None)), ("latents", lambda cache: encode_cache(cache, mean_colour, {"vae": "mean"}))])
def test_a_lost_array_whose_clips_are_marked_as_done_is_no_array_of_zeros(clip_cache, tmp_path, lost, make):
    cache = shutil.copytree(clip_cache, tmp_path / "cache")
    (cache / f"{lost}.npy").unlink()
    with pytest.raises(FileNotFoundError, match=f"{lost}.npy: expected the array of the clips that .* calls done .found none.: bring it back, or delete"):
        make(cache)


def test_a_disk_that_takes_no_more_is_told_with_the_arrays_name_and_nothing_is_left(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(OSError, match=f"File too large: '{tmp_path}/frames.npy'"):
            open_array(tmp_path, "frames", (1000, 1000), np.uint8)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())


def test_a_clip_of_hours_is_refused(tmp_path):
    with pytest.raises(ValueError, match="2 frames at 0.001 fps: expected a clip of at most 600 s .found 2e.03."):
        render_cache(tmp_path, first_seed=0, num_clips=1, num_frames=2, fps=0.001, size=SIZE, workers=1)


def write_own_row(job: tuple[Path, int]) -> None:
    folder, row = job
    open_array(folder, "shared", (16,), np.int64)[row] = row


def test_processes_that_make_the_same_array_at_once_lose_nothing(tmp_path):
    with ProcessPoolExecutor(4) as pool:
        for attempt in range(4):
            folder = tmp_path / str(attempt)
            list(pool.map(write_own_row, [(folder, row) for row in range(16)]))
            assert open_array(folder, "shared").tolist() == list(range(16))
            assert [file.name for file in folder.iterdir()] == ["shared.npy"]


def test_no_process_is_left_that_renders_for_one_that_was_killed(tmp_path):
    render = f"render_cache(Path({str(tmp_path)!r}), first_seed=40, num_clips=900, num_frames=3, fps=5, size={SIZE}, workers=2)"
    parent = psutil.Popen([sys.executable, "-c", f"from pathlib import Path; from synthetic.clips import render_cache; {render}"])
    while not ((tmp_path / "rendered.npy").is_file() and np.load(tmp_path / "rendered.npy").any()):
        assert parent.poll() is None
        time.sleep(0.05)
    workers = parent.children()
    parent.kill()
    parent.wait()
    left = psutil.wait_procs(workers, timeout=20)[1]
    for worker in left:
        worker.kill()
    assert len(workers) == 2 and not left


def test_a_moved_picture_comes_with_its_own_frame_and_the_reference_picture(clip_cache):
    item = CachedClips(clip_cache, 1, moved=True)[(1, 3)]
    latents, moved = (open_array(clip_cache, name).astype(np.float32) for name in ("latents", "moved_latents"))
    clip, frame = np.argwhere((latents == item["latents"].numpy()).all(axis=(2, 3, 4)))[0]
    assert np.array_equal(item["moved_latents"][0].numpy(), moved[clip, frame])
    assert np.array_equal(item["reference_latents"].numpy(), latents[clip, 0])
    assert moved[clip, 1].mean() < moved[clip, 0].mean() / 1.9 and np.array_equal(moved[clip, 0], latents[clip, 0])


def test_a_picture_never_is_its_own_reference(clip_cache):
    clips, rng = CachedClips(clip_cache, 1), np.random.default_rng(0)
    chosen = [clips._choose(clips.reach[0], rng) for _ in range(300)]
    assert all(target != reference for (target,), reference in chosen)
    assert {target for (target,), _ in chosen} == set(range(5))
    assert 0.4 < np.mean([reference == 0 for _, reference in chosen]) < 0.8


def test_pictures_far_from_the_reference_come_more_often(clip_cache):
    clips = CachedClips(clip_cache, 1)
    clips.reach = np.array([[0, 0.01, 0.01, 0.01, 0.01], [0, 0.01, 0.01, 0.01, 0.3], [0, 0.02, 0.02, 0.02, 0.02]])
    rng = np.random.default_rng(0)
    targets = [clips._choose(clips.reach[1], rng)[0][0] for _ in range(300)]
    assert np.mean([target == 4 for target in targets]) > 0.4
    furthest = clips.latents[1].astype(np.float32)
    from_second = [(furthest == clips[(0, position)]["latents"].numpy()).all(axis=(1, 2, 3)).any() for position in range(300)]
    assert 0.1 < np.mean(from_second) < 0.3                    # asked for the first clip: half the time a third is the second


def test_reach_is_in_heights_of_the_person():
    keypoints = np.zeros((3, 133, 3), np.float32)
    keypoints[:, :17] = np.stack([np.zeros(17), np.linspace(20, 120, 17), np.ones(17)], axis=-1)
    keypoints[1, :17, 0] += 50
    keypoints[2, :17, 2] = 0
    assert np.allclose(reach(keypoints), [0, 0.5, 0])


def test_consecutive_frames_keep_their_order(clip_cache):
    item, latents = CachedClips(clip_cache, 3)[(2, 11)], open_array(clip_cache, "latents")[2].astype(np.float32)
    starts = [first for first in (1, 2) if np.array_equal(latents[first:first + 3], item["latents"].numpy())]
    assert len(starts) == 1 and np.array_equal(item["reference_latents"].numpy(), latents[0])


def test_the_adapter_sees_no_hands_and_is_asked_for_them(clip_cache):
    video, adapter = CachedClips(clip_cache, 1), CachedClips(clip_cache, 1, adapter=True)
    item = adapter[(0, 4)]
    keypoints = open_array(clip_cache, "keypoints")[0].copy()
    keypoints[:, HANDS] = 0
    drawn = [adapter._draw(keypoints[frame:frame + 1])[0] for frame in range(5)]
    seen = ((item["pose"][0].movedim(0, -1) + 1) * 127.5).round().numpy()
    assert min(np.abs(seen - frame).max() for frame in drawn) < 1
    assert not torch.equal(video[(0, 4)]["latents"], item["latents"])
