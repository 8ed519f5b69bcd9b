"""Folders as people have them: odd file names, thumbnails between the videos, captions with gaps, disks that refuse."""
import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from media.images import pictures_in
from media.video_reader import videos_in
from media.video_writer import write_video
from motionbench.cells import pictures_in as identities_in
from musepose.published_yaml import files_in
from rectangles import FPS, person, prepared
from training_data.folder import DataFolder, write_summary
from training_data.latents import LatentSettings
from training_data.preparing import PrepareSettings
from training_data.sources import caption_of, discover, read_table, Source

ODD_NAMES = ("new\nline.mp4", "<b>&it's \"quoted\".mp4", "déjà vu ♥.mp4", os.fsdecode(b"caf\xe9.mp4"),
             "100%25 a?b#c.mp4")


def test_names_of_any_bytes_are_kept_and_written_down(tmp_path):
    for index, name in enumerate(ODD_NAMES):
        write_video(tmp_path / "videos" / "plain.mp4", person(shade=40 + 20 * index), FPS)
        os.replace(tmp_path / "videos" / "plain.mp4", tmp_path / "videos" / name)
    lines = prepared(tmp_path / "data", [tmp_path / "videos"])
    assert sorted(Path(line["source"]).name for line in lines) == sorted(ODD_NAMES)
    assert all("skip" not in line for line in lines)
    assert DataFolder(tmp_path / "data").read_manifest() == lines
    assert "caf\\udce9" in (tmp_path / "data" / "manifest.jsonl").read_text(encoding="utf-8")
    (tmp_path / "videos" / ODD_NAMES[3]).write_bytes(b"broken")
    page = write_summary(DataFolder(tmp_path / "data"), prepared(tmp_path / "data", [tmp_path / "videos"]))
    assert "caf\\udce9.mp4" in page.read_text(encoding="utf-8")


def test_thumbnails_beside_videos_are_no_video(tmp_path):
    write_video(tmp_path / "a.mp4", person(), FPS)
    for index in range(3):
        Image.fromarray(np.zeros((64, 96, 3), np.uint8)).save(tmp_path / f"{index}.jpg")
    assert [source.kind for source in discover([str(tmp_path)], tmp_path / "data")] == ["file"]
    (tmp_path / "a.mp4").unlink()
    assert [source.kind for source in discover([str(tmp_path)], tmp_path / "data")] == ["pictures"]


def test_every_kind_of_video_is_tried_and_what_is_none_is_in_the_manifest(tmp_path):
    videos = tmp_path / "videos"
    write_video(videos / "a.mp4", person(), FPS)
    for number, name in enumerate(("b.m4v", "c.odd", "without", ".hidden.odd")):
        write_video(videos / "a.mp4", person(shade=60 + 40 * number), FPS)
        (videos / name).write_bytes((videos / "a.mp4").read_bytes())
    for name in ("a.txt", "d.dat"):
        (videos / name).write_text("she waves")
    lines = prepared(tmp_path / "data", [videos])
    assert sorted(Path(line["source"]).name for line in lines if "clip" in line) == ["a.mp4", "b.m4v", "c.odd", "without"]
    skipped, = (line for line in lines if "skip" in line)
    assert Path(skipped["source"]).name == "d.dat" and skipped["skip"] == "cannot be read"


def test_what_is_no_regular_file_is_left_out_by_name_wherever_a_folder_is_listed(tmp_path, caplog):
    odd = ("pipe.mp4", "pipe", "9.png", "gone.mp4")
    for name in odd[:3]:
        os.mkfifo(tmp_path / name)
    (tmp_path / odd[3]).symlink_to(tmp_path / "nowhere")
    (tmp_path / ".#lock").symlink_to("me@here")
    write_video(tmp_path / "a.mp4", person(), FPS)
    Image.fromarray(person()[0]).save(tmp_path / "1.png")
    assert [Path(source.name).name for source in discover([str(tmp_path)], tmp_path / "data")] == ["a.mp4"]
    assert list(videos_in(tmp_path)) == ["a"] and files_in(str(tmp_path), (".mp4",), tmp_path) == [tmp_path / "a.mp4"]
    assert [path.name for path in pictures_in(tmp_path)] == ["1.png"] == [path.name for path in identities_in(tmp_path).values()]
    assert sorted(caplog.messages) == sorted(f"{tmp_path / name}: left out: expected a regular file (found a pipe, a socket, a device, or a "
                                             "link that leads nowhere)" for name in odd)       # once


def test_a_linked_folder_is_entered_once_and_a_loop_ends(tmp_path):
    write_video(tmp_path / "far" / "a.mp4", person(), FPS)
    (tmp_path / "videos").mkdir()
    for name in ("one", "two"):
        (tmp_path / "videos" / name).symlink_to(tmp_path / "far", target_is_directory=True)
    (tmp_path / "far" / "back").symlink_to(tmp_path / "videos", target_is_directory=True)
    assert len(discover([str(tmp_path / "videos")], tmp_path / "data")) == 1
    (tmp_path / "videos" / "up").symlink_to("..", target_is_directory=True)              # and all that lies beside the videos
    (tmp_path / "beside.mp4").write_bytes(b"")
    assert len(discover([str(tmp_path / "videos")], tmp_path / "data")) == 1


def test_a_copy_without_a_caption_does_not_hide_the_one_that_has_it(tmp_path):
    for name in ("a copy.mp4", "b.mp4"):
        write_video(tmp_path / "videos" / name, person(), FPS)
    (tmp_path / "videos" / "b.txt").write_text("she dances")
    kept = [line for line in prepared(tmp_path / "data", [tmp_path / "videos"]) if "skip" not in line]
    assert [(Path(line["source"]).name, line["caption"]) for line in kept] == [("b.mp4", "she dances")]


def test_captions_may_be_json_and_may_be_missing(tmp_path):
    pairs = [("a.mp4", "she  waves"), ("b.mp4", None), ("c.mp4", "")]
    (tmp_path / "map.json").write_text(json.dumps(dict(pairs)))
    rows = [{"File": name, "caption": text} for name, text in pairs]
    (tmp_path / "list.json").write_text(json.dumps(rows))
    (tmp_path / "lines.jsonl").write_text("\n".join(map(json.dumps, rows)))
    for name in ("map.json", "list.json", "lines.jsonl"):
        assert read_table(tmp_path / name) == {"a.mp4": "she waves"}
    for text, says in (("[1, 2]", "expected an object of name: caption"), ("{", "expected JSON")):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(ValueError, match=f"bad.json: {says}"):
            read_table(tmp_path / "bad.json")


def test_a_caption_that_is_not_utf8_is_left_out_by_name_and_a_table_is_refused(tmp_path, caplog):
    source = Source(str(tmp_path / "a.mp4"), "file")
    for written, caption in (("\ufeffshe  waves".encode(), "she waves"), ("Sie grüßt".encode("latin-1"), None), ("she waves".encode("utf-16"), None)):
        caplog.clear()
        (tmp_path / "a.txt").write_bytes(written)
        assert caption_of(source, {}) == caption and len(caplog.messages) == (caption is None)
        assert all(f"caption left out: {tmp_path / 'a.txt'}: expected text in UTF-8 (found the byte 0xf" in line for line in caplog.messages)
    (tmp_path / "table.csv").write_bytes("file,caption\na.mp4,grüßt\n".encode("latin-1"))
    with pytest.raises(ValueError, match="table.csv: expected text in UTF-8 .found the byte 0xfc at 21.: save it as UTF-8"):
        read_table(tmp_path / "table.csv")


def test_a_read_only_disk_is_one_line(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))
    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(ValueError, match="expected a folder that can be written .Read-only file system."):
        DataFolder(tmp_path / "data").claim({})


@pytest.mark.parametrize("make, says", [
    (lambda: PrepareSettings(fps=float("nan")), "fps: expected a finite number"),
    (lambda: LatentSettings([320, 190], "video", "bold", 4, 0.02), "size: expected multiples of 8"),
    (lambda: LatentSettings([0, 0], "video", "bold", 4, 0.02), "size: expected multiples of 8, 8 or more .found 0x0"),
    (lambda: LatentSettings([320, 192], "video", "bold", 0, 0.02), "references: expected at least 1"),
    (lambda: LatentSettings([320, 192], "video", "bold", 4, -0.02), "noise_aug_strength: expected 0 or more"),
])
def test_impossible_numbers_are_named_before_a_video_is_cut(make, says):
    with pytest.raises(ValueError, match=says):
        make()
