"""Preparing data: whatever the videos are, nothing is lost, nothing is there twice, and every skip has its reason."""
import errno
import multiprocessing
import os
import signal
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from configs import load_config, run_main
from dwpose.skeleton import NOSE, Skeleton
from media.files import locked
from media.video_reader import announced_frames, read_video
from media.video_writer import write_video
from rectangles import FPS, SETTINGS, WhiteRectangles, person, prepared, reasons
from scripts.prepare_dataset import main
from synthetic.clips import sample_clip
from training_data import preparing
from training_data.sources import discover, PERSON_COLUMNS, read_table
from training_data.folder import DataFolder, write_summary
from training_data.latents import LatentCache
from training_data.preparing import pieces, POSE_KINDS, Preparation, PrepareSettings, write_pose_videos
from train_video_generation import training_clips, VideoGenerationConfig

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / "weights" / "demo" / "dwpose"


def exact(folder: Path) -> dict[str, bytes | int]:
    """Every file and its bytes; of a clip the number of its frames, for x264 does not always choose the same bits."""
    return {str(path.relative_to(folder)): announced_frames(path) if path.suffix == ".mp4" else path.read_bytes()
            for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def twenty(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("twenty")
    for index in range(20):
        write_video(folder / f"{index:02d}.mp4", person(8, shade=40 + 8 * index), FPS)
    return folder


def test_a_killed_run_is_finished_by_the_next_and_nothing_is_lost_or_twice(twenty, tmp_path):
    whole = prepared(tmp_path / "whole", [twenty])
    assert reasons(whole) == {"kept": 20}
    child = multiprocessing.get_context("fork").Process(
        target=prepared, args=(tmp_path / "killed", [twenty]), kwargs={"detector": WhiteRectangles(seconds=0.05)})
    child.start()
    finished = lambda: list((tmp_path / "killed" / "pieces").glob("*.json"))
    while len(finished()) < 7 and child.is_alive():
        time.sleep(0.005)
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    assert child.exitcode == -signal.SIGKILL and 7 <= len(finished()) < 20
    before = {path: path.stat().st_mtime_ns for path in finished()}
    (tmp_path / "killed" / "clips" / ".half.mp4.1.partial").write_bytes(b"what the kill left")
    DataFolder(tmp_path / "killed").remove_partial_files()
    assert prepared(tmp_path / "killed", [twenty]) == whole
    assert exact(tmp_path / "killed") == exact(tmp_path / "whole")
    assert {path: path.stat().st_mtime_ns for path in before} == before             # what was done was not done again


def test_a_second_run_writes_no_clip_and_detects_nothing(twenty, tmp_path):
    first = prepared(tmp_path, [twenty])
    unused = replace(WhiteRectangles(), people=lambda frames: pytest.fail("a pose was detected again"))
    assert prepared(tmp_path, [twenty], detector=unused) == first


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:path.stat().st_size // 2])


def test_what_was_lost_or_cut_short_is_made_anew_with_a_line_and_the_rest_is_kept(twenty, tmp_path, caplog):
    lines, data, whole, seen = prepared(tmp_path, [twenty]), DataFolder(tmp_path), exact(tmp_path), []
    names, sources = ([line[key] for line in lines[:6]] for key in ("clip", "source"))
    data.clip(names[0]).unlink()
    data.skeleton(names[1]).unlink()
    data.piece(names[2]).unlink()
    for path in (data.clip(names[3]), data.skeleton(names[4]), data.piece(names[5]), data.source(lines[6]["source"])):
        cut_short(path)
    detector = WhiteRectangles(people=lambda frames: seen.append(1) or WhiteRectangles().people(frames))
    assert prepared(tmp_path, [twenty], detector=detector) == lines and exact(tmp_path) == whole and len(seen) == 6
    assert caplog.messages[:6] == [f"{source}: 1 of its 1 clips are lost or cut short, first {name}: made anew"
                                   for source, name in zip(sources, names)]
    assert len(caplog.messages) == 7 and f"the record of {lines[6]['source']} is cut short: made anew" in caplog.messages[6]


def test_a_lost_clip_whose_video_is_not_given_is_listed_as_lost_and_comes_back_with_it(twenty, tmp_path):
    lines, data = prepared(tmp_path, [twenty], captions={twenty.joinpath("00.mp4").name: "he walks"}), DataFolder(tmp_path)
    data.clip(lines[0]["clip"]).unlink()
    data.piece(lines[1]["clip"]).unlink()
    fewer = prepared(tmp_path, [twenty / "09.mp4"])
    assert reasons(fewer) == {"kept": 18, "lost": 2}
    assert fewer[0]["detail"] == f"clips/{lines[0]['clip']}.mp4 is gone: give its video again" and len(data.clips()) == 18
    assert prepared(tmp_path, [twenty]) == lines                                    # with its caption


def test_processes_that_share_the_work_make_what_one_makes(twenty, tmp_path):
    alone, data = prepared(tmp_path / "alone", [twenty]), DataFolder(tmp_path / "shared")
    data.claim(asdict(SETTINGS))
    for rank in range(3):
        work = Preparation(data, WhiteRectangles(), SETTINGS, {})
        for source in discover([str(twenty)], data.path)[rank::3]:
            work(source)
    assert data.write_manifest() == alone


def test_every_skip_has_its_reason(tmp_path):
    videos, rng = tmp_path / "videos", np.random.default_rng(0)
    write_video(videos / "good.mp4", person(), FPS)
    write_video(videos / "short.mp4", person(3), FPS)
    write_video(videos / "still.mp4", person(step=0), FPS)
    write_video(videos / "two.mp4", person(people=2), FPS)
    write_video(videos / "empty_room.mp4", person(people=0), FPS)
    write_video(videos / "tiny.mp4", person()[:, :40, :40], FPS)
    lost = person(shade=100)
    lost[6:] = (100, 120, 60)
    write_video(videos / "lost.mp4", lost, FPS)
    (videos / "noise.mp4").write_bytes(rng.bytes(5000))
    (videos / "copy.mp4").write_bytes((videos / "good.mp4").read_bytes())
    lines = prepared(tmp_path / "data", [videos])
    found = {Path(line["source"]).stem: line.get("skip", "kept") for line in lines}
    assert found == {"copy": "kept", "good": "seen before", "short": "too short", "still": "no motion",
                     "two": "several people", "empty_room": "nobody", "tiny": "small picture", "lost": "person lost",
                     "noise": "cannot be read"}
    assert all(line["detail"] for line in lines if "skip" in line)
    assert len(list((tmp_path / "data" / "clips").iterdir())) == 1
    page = write_summary(DataFolder(tmp_path / "data"), lines).read_text()
    assert all(reason in page for reason in found.values() if reason != "kept") and "http" not in page
    assert cv2.imread(str(tmp_path / "data" / "contact_sheet.png")) is not None


def test_a_cut_starts_a_new_clip_and_a_long_shot_becomes_several():
    first, second = person(15), person(47, shade=200)[..., ::-1]
    found = list(pieces([*first, *second], longest=20, shortest=5))
    assert [(start, len(part)) for start, part in found] == [(0, 15), (15, 20), (35, 20), (55, 7)]
    assert np.array_equal(np.concatenate([part for _, part in found]), np.concatenate([first, second]))
    assert [len(part) for _, part in pieces(person(22), longest=20, shortest=5)] == [11, 11]
    wall = cv2.resize(np.random.default_rng(0).integers(0, 255, (8, 40, 3), np.uint8), (960, 64))
    panning = [wall[:, 8 * index:8 * index + 96] for index in range(60)]
    assert len(list(pieces(panning, longest=100, shortest=5))) == 1                 # a fast pan is no cut


def test_what_was_read_of_a_broken_video_is_kept():
    def breaking():
        yield from person(9)
        raise ValueError("clip.mp4: expected a whole video")
    found = []
    with pytest.raises(ValueError, match="whole video"):
        for _, part in pieces(breaking(), longest=20, shortest=5):
            found.append(len(part))
    assert found == [9]


def test_tiktok_folders_are_videos_and_their_masks_are_not(tmp_path):
    for kind in ("images", "masks", "densepose"):
        (tmp_path / "TikTok" / "00007" / kind).mkdir(parents=True)
    for index, frame in enumerate(person(20)):
        for kind in ("images", "masks", "densepose"):
            cv2.imwrite(str(tmp_path / "TikTok" / "00007" / kind / f"{index + 1}.png"), frame[..., ::-1])
    (tmp_path / "TikTok" / "00007.txt").write_text("somebody  dances\n")
    lines = prepared(tmp_path / "data", [tmp_path / "TikTok"])
    assert [line["source"] for line in lines] == [str(tmp_path / "TikTok" / "00007" / "images")]
    assert lines[0]["fps"] == SETTINGS.picture_fps and lines[0]["num_frames"] == 20
    left = [int(np.flatnonzero(frame[30].min(axis=-1) > 180)[0])
            for frame in read_video(DataFolder(tmp_path / "data").clip(lines[0]["clip"]))[0]]
    assert left[:10] == sorted(left[:10])                       # 2.png comes before 10.png


def test_captions_come_from_a_table_or_from_beside_the_video_and_may_come_later(tmp_path):
    videos = tmp_path / "videos"
    for index, name in enumerate("abc"):
        write_video(videos / f"{name}.mp4", person(shade=60 + 20 * index), FPS)
    (videos / "a.txt").write_text("a man walks\n")
    (tmp_path / "table.csv").write_text('file,caption\nb.mp4,"she waves, twice"\n')
    captions = lambda lines: [line["caption"] for line in lines]
    assert captions(prepared(tmp_path / "data", [videos])) == ["a man walks", None, None]
    assert captions(prepared(tmp_path / "data", [videos], captions=read_table(tmp_path / "table.csv"))) \
        == ["a man walks", "she waves, twice", None]
    (tmp_path / "bad.csv").write_text("who,what\nb.mp4,jumps\n")
    with pytest.raises(ValueError, match="bad.csv, row 1: expected a column file"):
        read_table(tmp_path / "bad.csv")
    (tmp_path / "who.csv").write_text("file,person\nb.mp4,ann\n")
    assert read_table(tmp_path / "who.csv", PERSON_COLUMNS) == {"b.mp4": "ann"} and read_table(tmp_path / "who.csv") == {}


def test_a_full_disk_ends_the_run_and_is_no_reason_to_skip(twenty, tmp_path, monkeypatch):
    real, room = preparing.write_video, [3]
    def write(*rest, **named):
        room[0] -= 1
        if room[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*rest, **named)
    monkeypatch.setattr(preparing, "write_video", write)
    with pytest.raises(OSError, match="No space left"):
        prepared(tmp_path, [twenty])
    room[0] = 100
    assert reasons(prepared(tmp_path, [twenty])) == {"kept": 20}


def test_what_was_not_the_files_fault_is_tried_again(tmp_path, monkeypatch):
    write_video(tmp_path / "videos" / "a.mp4", person(), FPS)
    (tmp_path / "videos" / "b.mp4").write_bytes(b"no video at all" * 99)
    real, failing, asked = preparing.frames_of, [True], []

    def frames_of(path, *rest):
        asked.append(path.name)
        if failing[0]:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(path, *rest)
    monkeypatch.setattr(preparing, "frames_of", frames_of)
    assert reasons(prepared(tmp_path / "data", [tmp_path / "videos"])) == {"cannot be read": 2}
    failing[0] = False
    assert reasons(prepared(tmp_path / "data", [tmp_path / "videos"])) == {"kept": 1, "cannot be read": 1}
    asked.clear()
    prepared(tmp_path / "data", [tmp_path / "videos"])
    assert asked == []                                      # b.mp4 is at fault itself, which is remembered


def test_a_second_run_on_one_output_is_refused_and_leaves_the_first_ones_files(tmp_path, capsys):
    write_video(tmp_path / "videos" / "a.mp4", person(), FPS)
    half = tmp_path / "data" / "clips" / ".a.mp4.1.partial"
    with locked(tmp_path / "data", beside=True):
        half.parent.mkdir(parents=True)
        half.write_bytes(b"half a clip")
        assert command(tmp_path / "videos", "-o", tmp_path / "data") == 2
    assert half.is_file() and "data: another run is writing to it" in capsys.readouterr().err


def test_a_damaged_line_of_the_manifest_is_named(tmp_path):
    write_video(tmp_path / "videos" / "a.mp4", person(), FPS)
    prepared(tmp_path / "data", [tmp_path / "videos"])
    data = DataFolder(tmp_path / "data")
    for damaged in ('{"clip": "a', "", '{"clip": "a"}', "[]", "3"):
        data.manifest.write_text(f"{data.manifest.read_text().splitlines()[0]}\n{damaged}\n")
        with pytest.raises(ValueError, match="manifest.jsonl, line 2: expected "):
            data.clips()


def test_other_settings_are_refused_and_named(tmp_path):
    DataFolder(tmp_path).claim(asdict(SETTINGS))
    with pytest.raises(ValueError, match=r"min_seen: 0.9 there, 0.5 now\): use the same ones, or another folder"):
        DataFolder(tmp_path).claim(asdict(replace(SETTINGS, min_seen=0.5)))
    with pytest.raises(ValueError, match="max_seconds: expected at least twice min_seconds"):
        PrepareSettings(min_seconds=6.0)


def test_an_empty_folder_and_a_wrong_path_are_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty: expected videos"):
        discover([str(tmp_path / "empty")], tmp_path / "data")
    with pytest.raises(FileNotFoundError, match="found nothing"):
        discover([str(tmp_path / "nowhere")], tmp_path / "data")


def test_the_output_is_never_its_own_source(twenty, tmp_path):
    videos = tmp_path / "videos"
    write_video(videos / "a.mp4", person(), FPS)
    prepared(videos / "data", [videos])
    assert len(prepared(videos / "data", [videos])) == 1


def test_pose_videos_show_less_and_less(tmp_path):
    write_video(tmp_path / "videos" / "a.mp4", person(), FPS)
    lines, data = prepared(tmp_path / "data", [tmp_path / "videos"]), DataFolder(tmp_path / "data")
    write_pose_videos(data, lines, "bold")
    lit = {kind: int((read_video(data.pose_video(kind, lines[0]["clip"]))[0].max(axis=-1) > 60).sum())
           for kind in POSE_KINDS}
    assert lit["with_hands"] > lit["without_hands"] > 0 and lit["with_hands"] > lit["three_point_face"] > 0
    cut_short(data.pose_video("with_hands", lines[0]["clip"]))
    write_pose_videos(data, lines, "bold")
    assert len(read_video(data.pose_video("with_hands", lines[0]["clip"]))[0]) == lines[0]["num_frames"]


def command(*arguments) -> int:
    """The exit status of scripts/prepare_dataset.py."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as end:
        patch.setattr(sys, "argv", ["prepare_dataset.py", *map(str, arguments)])
        run_main(main)
    return end.value.code or 0


def test_the_command_makes_a_folder_that_trains_and_adds_to_it(tmp_path, tiny_svd_folder):
    clip = sample_clip(1000, num_frames=5, size=(160, 96))
    write_video(tmp_path / "videos" / "jumps.mp4", clip.frames, FPS)
    options = ["-o", tmp_path / "data", "--detector", DEMO / "detector.onnx", "--keypoints", DEMO / "pose.onnx",
               "--min-side", 96, "--short-side", 96, "--min-seconds", 0.5]
    assert command(tmp_path / "videos", *options, "--cache-latents", tiny_svd_folder, "--size", 64, 64,
                   "--shards", tmp_path / "shards") == 0
    line, = DataFolder(tmp_path / "data").clips()
    assert line["crowd"] == 0 and line["seen"] == 1 and (tmp_path / "data" / "summary.html").is_file()
    skeleton = Skeleton.load(DataFolder(tmp_path / "data").skeleton(line["clip"]))
    off = np.linalg.norm(skeleton.xy[:, NOSE] - clip.skeleton.xy[:, NOSE], axis=-1)
    assert np.median(off) < 5                                   # pixels of 96
    here, there = (training_clips(load_config(VideoGenerationConfig, [
        f"dataset={tmp_path / name}", "cached_latents=true", "num_frames=3", "height=64", "width=64"]))[(0, 0)]
        for name in ("data", "shards"))
    assert here["latents"].shape[:2] == (3, 4) and torch.equal(here["latents"], there["latents"])
    shard, = (tmp_path / "data" / "latents" / "video").glob("shard-*")
    cut_short(shard)
    assert command("-o", tmp_path / "data", "--cache-latents", tiny_svd_folder, "--size", 64, 64) == 0
    assert list(LatentCache(DataFolder(tmp_path / "data"), "video").index()) == [line["clip"]]
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "again.mp4").write_bytes((tmp_path / "videos" / "jumps.mp4").read_bytes())
    assert command(tmp_path / "more", *options) == 0
    assert reasons(DataFolder(tmp_path / "data").read_manifest()) == {"kept": 1, "seen before": 1}


def test_the_command_says_in_one_line_what_is_wrong(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    demo = ["--detector", DEMO / "detector.onnx", "--keypoints", DEMO / "pose.onnx", "-o", tmp_path / "data"]
    for arguments, message in (([tmp_path / "empty", *demo], "empty: expected videos"),
                               ([tmp_path / "empty", *demo, "--cache-latents", tmp_path], "expected an SVD folder"),
                               ([*demo, "--shards", tmp_path / "data"], "expected another folder than the data folder"),
                               ([*demo, "--pose-videos"], "expected a prepared data folder")):
        assert command(*arguments) == 2
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert error.startswith("error: ") and message in error
    assert not (tmp_path / "data").exists()
