"""Training samples from a prepared data folder: the same moments everywhere, from videos and from cached latents."""
import json
import shutil
import tarfile
import time

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.testing import assert_close
from torch.utils.data import default_collate

from dwpose.skeleton import BODY, Skeleton
from mimicmotion.checkpoint import load_image_encoder, load_vae
from media.video_reader import frames_at, read_video
from mimicmotion.latents import image_embeddings, image_latents
from media.video_writer import write_video
from training_data.latents import cache_latents, LatentCache, LatentSettings, Placement
from training_data.folder import DataFolder
from training_data.preparing import joint_speed, motion_bucket
from benchmarks.train_step import loading_stall
from mimicmotion.pipeline import PoseToVideo
from tiny_training import settings, train_video
from training_data.clips import PreparedClips
from training_data.shards import write_shards

SIZE = (64, 48)                 # the training canvas, pixels
LENGTHS = (12, 9, 20)           # frames per clip


def walking(num_frames: int) -> Skeleton:
    """Points that walk right by two pixels a frame on a canvas of 64 x 96; the left hand is sure, the right is not."""
    keypoints = np.zeros((num_frames, 133, 3), np.float32)
    keypoints[..., :2] = (20, 8) + np.random.default_rng(0).random((133, 2)) * (16, 46)
    keypoints[..., 0] += 2 * np.arange(num_frames)[:, None]
    keypoints[..., 2] = 0.9
    keypoints[:, 112:, 2] = 0.2
    return Skeleton(keypoints, (64, 96), 10)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> DataFolder:
    """A data folder of three clips whose frame number is its brightness."""
    folder, lines = DataFolder(tmp_path_factory.mktemp("data") / "set"), []
    folder.claim({})
    for number, length in enumerate(LENGTHS):
        frames = np.stack([np.full((64, 96, 3), 20 + 10 * index, np.uint8) for index in range(length)])
        write_video(folder.clip(f"clip{number}"), frames, 10, crf=4)
        walking(length).save(folder.skeleton(f"clip{number}"))
        lines.append({"clip": f"clip{number}", "num_frames": length, "fps": 10.0,
                      "caption": "walks" if number else None})
    folder.manifest.write_text("".join(f"{line}\n".replace("'", '"').replace("None", "null") for line in lines))
    return folder


def moments(pictures: torch.Tensor) -> list[int]:
    """Frame numbers from brightness."""
    return ((pictures.mean(dim=(-3, -2, -1)) + 1) * 127.5 - 20).div(10).round().int().tolist()


def test_an_item_is_a_window_and_a_reference_of_one_clip_and_depends_on_its_position_alone(data):
    clips = PreparedClips(data.path, 4, SIZE, style="bold", frame_stride=2, seed=3)
    item = clips[(2, 11)]
    shown = moments(item["target"])
    assert np.diff(shown).tolist() == [2, 2, 2] and 0 <= moments(item["reference"][None])[0] < 20
    assert item["fps"] == 5 and item["name"] == "clip2"
    assert item["caption"] == "walks" and clips[(0, 1)]["caption"] == ""
    again = PreparedClips(data.path, 4, SIZE, style="bold", frame_stride=2, seed=3)[(2, 11)]
    assert all(torch.equal(item[key], again[key]) for key in item if isinstance(item[key], torch.Tensor))
    assert len({moments(clips[(2, position)]["target"])[0] for position in range(12)}) > 4
    assert default_collate([clips[(0, 1)], item])["hands"].shape == (2, 4, 2, 5)


def test_a_clip_says_its_video_and_whose_folder_it_lies_in(data, tmp_path):
    def origins(*sources, **more):
        folder = DataFolder(shutil.copytree(data.path, tmp_path / str(len(list(tmp_path.iterdir())))))
        folder.manifest.write_text("".join(f"{json.dumps(line | {'source': source} | more)}\n"
                                           for line, source in zip(data.clips(), sources, strict=True)))
        clips = PreparedClips(folder.path, 1, SIZE, style="bold")
        return [clips.origin(index)[1:] for index in range(3)]

    one, two, three = "/data/ann/1.mp4", "/data/ann/2.mp4", "/data/ben/1.mp4"
    assert origins(one, two, three) == [(one, "ann"), (two, "ann"), (three, "ben")]
    assert origins(one, one, two) == [(one, ""), (one, ""), (two, "")]
    assert origins(one, two, "https://a.org/b/3.mp4")[2] == ("https://a.org/b/3.mp4", "")
    assert origins(one, two, three, person_name="ann") == [("ann", "ann")] * 3


def test_the_drawn_pose_and_the_hands_are_where_the_person_is_on_the_canvas(data):
    clips = PreparedClips(data.path, 4, SIZE, style="bold")
    item, whole = clips[(2, 5)], Skeleton.load(data.skeleton("clip2"))
    first = moments(item["target"])[0]
    placed = Placement.of(whole, SIZE).skeleton(whole).keypoints[first]
    inside = placed[BODY][(placed[BODY, 0] > 2) & (placed[BODY, 0] < 46)].astype(int)
    lit = item["pose"][0].amax(0) > -0.9                                                # (64, 48)
    assert all(lit[y - 1:y + 2, x - 1:x + 2].any() for x, y in inside[:, [0, 1]].tolist() if 1 < y < 62)
    left = item["hands"][0, 0]
    assert left[4] > 0.8 and item["hands"][0, 1, 4] < 0.3
    assert left[0] <= placed[91:112, 0].min() and left[2] >= placed[91:112, 0].max()


def test_the_crop_follows_the_person_to_the_side():
    person = walking(4)
    aside = Skeleton(person.keypoints + np.array((40, 0, 0), np.float32), person.size, 10)
    corners = [Placement.of(skeleton, (64, 32)).corner for skeleton in (person, aside)]
    assert corners[1][1] - corners[0][1] > 25 and corners[1][1] <= 96 - 32
    placed = Placement.of(aside, (64, 32)).skeleton(aside)
    assert (np.abs(placed.xy[:, BODY, 0] - 16) < 16).mean() > 0.9


def test_more_and_faster_motion_is_a_higher_bucket():
    slow, still = walking(8), Skeleton(np.repeat(walking(1).keypoints, 8, axis=0), (64, 96), 10)
    fast = Skeleton(walking(16).keypoints[::2], (64, 96), 10)
    buckets = [motion_bucket(joint_speed(skeleton)) for skeleton in (still, slow, fast)]
    assert buckets[0] == 1 and buckets == sorted(set(buckets)) and buckets[2] <= 255
    assert joint_speed(fast) == pytest.approx(2 * joint_speed(slow), rel=1e-4)


def test_the_adapter_learns_hands_from_poses_without_them(data):
    item = PreparedClips(data.path, 3, SIZE, adapter=True, style="bold")[(0, 2)]
    more = ((item["target"] - item["pose"]).abs().amax(dim=1) > 0.1).sum()
    assert more > 20 and item["reference"].amax() > -0.9


@pytest.fixture(scope="module")
def cached(data, tiny_svd_folder) -> DataFolder:
    """The same with latents of 64 x 64 pixels, cached in two goes."""
    folder = DataFolder(shutil.copytree(data.path, data.path.with_name("cached")))
    vae = load_vae(tiny_svd_folder / "vae", torch.float32).eval()
    encoder = load_image_encoder(tiny_svd_folder / "image_encoder", torch.float32).eval()
    settings = LatentSettings([64, 64], "video", "bold", 3, 0.0, "a", "b")
    LatentCache(folder, "video").claim(settings)
    cache_latents(folder, settings, folder.clips()[:1], vae, encoder, shown=False)
    done = LatentCache(folder, "video").index()
    assert list(done) == ["clip0"]
    cache_latents(folder, settings, [c for c in folder.clips() if c["clip"] not in done], vae, encoder, shown=False)
    return folder


def test_cached_latents_are_those_of_the_window_and_its_reference(cached, tiny_svd_folder):
    vae = load_vae(tiny_svd_folder / "vae", torch.float32).eval()
    encoder = load_image_encoder(tiny_svd_folder / "image_encoder", torch.float32).eval()
    item, plain = (PreparedClips(cached.path, 4, (64, 64), style="bold", frame_stride=2, cached=latents)[(1, 9)]
                   for latents in (True, False))
    with torch.no_grad():
        assert_close(item["latents"], image_latents(vae, plain["target"]), atol=2e-2, rtol=1e-2)
        assert_close(item["reference_latents"], image_latents(vae, item["reference"][None])[0], atol=2e-2, rtol=1e-2)
        assert_close(item["embedding"], image_embeddings(encoder, item["reference"][None])[0], atol=2e-2, rtol=1e-2)
    assert torch.equal(item["pose"], plain["pose"]) and item["noise_aug_strength"] == 0
    with pytest.raises(ValueError, match="cached for 64x64 pixels"):
        PreparedClips(cached.path, 4, SIZE, style="bold", cached=True)
    with pytest.raises(ValueError, match="references: 3 there, 5 now"):
        LatentCache(cached, "video").claim(LatentSettings([64, 64], "video", "bold", 5, 0.0, "a", "b"))


@pytest.mark.parametrize("storage", ["{}", "file://{}", "memory://{}"])
@pytest.mark.parametrize("how", [{}, {"adapter": True}, {"cached": True}])
def test_shards_give_the_samples_of_their_folder(cached, tmp_path, storage, how):
    url = storage.format(tmp_path / "shards")
    write_shards(cached, url, clips_per_shard=2, shown=False)
    here, there = (PreparedClips(path, 4, (64, 64), style="bold", seed=3, **how) for path in (cached.path, url))
    assert len(here) == len(there) == 3
    for key in [(0, 5), (2, 11), (1, 7)]:
        one, other = here[key], there[key]
        assert one.keys() == other.keys() and one["name"] == other["name"] and one["caption"] == other["caption"]
        assert [name for name in one if torch.is_tensor(one[name]) and not torch.equal(one[name], other[name])] == []
    assert here.origin(1)[1:] == there.origin(1)[1:] and there.origin(1)[0].startswith(f"{url}/shard-")


def test_shards_are_tar_files_that_are_written_once_and_what_is_wrong_with_them_is_named(cached, data, tmp_path):
    write_shards(data, str(tmp_path), clips_per_shard=2, shown=False)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.tar")}
    write_shards(data, str(tmp_path), clips_per_shard=2, shown=False)
    assert len(before) == 2 and before == {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.tar")}
    for shard in before:
        with tarfile.open(shard) as tar:
            for name in tar.getnames():
                stem, kind = name.split(".")
                path = data.skeleton(stem) if kind == "npz" else data.clip(stem)
                assert tar.extractfile(name).read() == path.read_bytes()
    for shard in before:
        shard.write_bytes(shard.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"shard-\w+.tar, clip1.\w+: expected \d+ bytes .found \d+.: write the shards again"):
        PreparedClips(tmp_path, 4, SIZE)[(1, 0)]
    with pytest.raises(FileNotFoundError, match="latents-video.json: expected shards of a data folder"):
        PreparedClips(tmp_path, 4, SIZE, cached=True)
    with pytest.raises(FileNotFoundError, match="memory://none/manifest.jsonl: expected shards of a data folder .found no such file"):
        PreparedClips("memory://none", 4, SIZE)
    with pytest.raises(ValueError, match="expected shards .found a data folder.: write them there"):
        PreparedClips(f"file://{data.path}", 4, SIZE)
    with pytest.raises(ValueError, match="adl://set/manifest.jsonl: expected the driver of that storage to be installed"):
        PreparedClips("adl://set", 4, SIZE)
    with pytest.raises(ValueError, match="nothing://set/manifest.jsonl: expected storage that answers .*nothing"):
        PreparedClips("nothing://set", 4, SIZE)


def test_a_run_over_shards_that_was_stopped_equals_one_over_the_folder_that_was_not(cached, tiny_svd_folder,
                                                                                    tiny_checkpoint, tmp_path):
    write_shards(cached, str(tmp_path / "shards"), clips_per_shard=2, shown=False)
    found = []
    for data, ends in ((cached.path, [2]), (tmp_path / "shards", [1, 2])):
        output = tmp_path / f"run{len(found)}"
        for end in ends:
            clips = PreparedClips(data, 2, (64, 64), style="bold", cached=True, seed=3)
            train_video(PoseToVideo.load(tiny_svd_folder, tiny_checkpoint), clips,
                        settings(output, max_steps=end, num_workers=1))
        found.append(load_file(output / "latest" / "trained.safetensors"))
    assert [name for name in found[0] if not torch.equal(found[0][name], found[1][name])] == []


def test_a_caption_with_any_separator_stays_one_line_of_the_manifest(data, tmp_path):
    folder = DataFolder(shutil.copytree(data.path, tmp_path / "set"))
    lines = [line | {"caption": "turns\u2028and\x85bows"} for line in data.clips()]
    folder.manifest.write_text("".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines))
    assert [line["caption"] for line in folder.clips()] == ["turns\u2028and\x85bows"] * 3


def test_too_short_clips_are_left_out_and_none_left_is_refused(data, caplog):
    assert len(PreparedClips(data.path, 10, SIZE, style="bold")) == 2 and "1 of 3 clips are left out" in caplog.text
    with pytest.raises(ValueError, match="expected clips of at least 40 frames"):
        PreparedClips(data.path, 40, SIZE, style="bold")
    with pytest.raises(FileNotFoundError, match="expected cached latents"):
        PreparedClips(data.path, 4, SIZE, style="bold", adapter=True, cached=True)
    with pytest.raises(FileNotFoundError, match="expected a prepared data folder"):
        PreparedClips(data.path / "clips", 4, SIZE)


def test_single_frames_equal_reading_all(data):
    whole = read_video(data.clip("clip2"))[0]
    assert np.array_equal(frames_at(data.clip("clip2"), [7, 3, 7, 19]), whole[[7, 3, 7, 19]])
    with pytest.raises(ValueError, match=r"expected at least 31 frames \(found 20\)"):
        frames_at(data.clip("clip2"), [3, 30])


class Slow(torch.utils.data.Dataset):
    """Samples that take 30 ms each."""

    def __len__(self) -> int:
        return 5

    def __getitem__(self, key):
        time.sleep(0.03)
        return {"position": torch.tensor(key[1])}


def test_the_stall_is_what_the_workers_cannot_keep_up_with():
    assert loading_stall(Slow(), seconds_per_step=0.0, num_steps=10, num_workers=0)["stall"] > 0.95
    assert loading_stall(Slow(), seconds_per_step=0.09, num_steps=10, num_workers=1)["stall"] < 0.2
