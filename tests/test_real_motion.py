"""Real motion is read, mirrored, and split by recording."""
import json

import numpy as np
import pytest
import torch

from demo.mocap import augmented, read_clips, split
from demo.t2m_data import EXCHANGED, UPPER_BODY, VARIED, varied
from synthetic.motions import sample_motion
from t2m.motion import LEFT_WRIST, RIGHT_WRIST

ENTRIES = [dict(captions=["a person steps up and kicks with the right foot"], source=f"{trial}", category="kick") for trial in range(7)]


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    motions = [sample_motion("kick", 2.0 + 0.1 * trial, rng, side="right").motion.joints for trial in range(7)]
    np.savez(tmp_path / "mocap.npz", joints=np.concatenate(motions), offsets=np.cumsum([0, *map(len, motions)]), fps=20)
    (tmp_path / "clips.jsonl").write_text("\n".join(map(json.dumps, ENTRIES)))
    return tmp_path


def test_a_clip_is_what_its_captions_say(folder):
    clip = read_clips(folder)[1]
    assert (clip.kind, clip.side, clip.trial, len(clip.motion)) == ("kick", "right", "1", 42)


def test_a_mirror_image_exchanges_sides_in_joints_and_words(folder):
    clip = read_clips(folder)[0]
    other = clip.mirrored()
    assert other.side == "left" and other.captions == ("a person steps up and kicks with the left foot",)
    np.testing.assert_array_equal(other.motion.joints[:, LEFT_WRIST], clip.motion.joints[:, RIGHT_WRIST] * (-1, 1, 1))
    np.testing.assert_array_equal(other.mirrored().motion.joints, clip.motion.joints)


def test_no_recording_is_both_trained_on_and_held_out(folder):
    train, held_out = split(read_clips(folder))
    assert [clip.trial for clip in held_out] == ["2"] and len(train) == 6
    assert len(augmented(train)) == 36 and max(len(clip.motion) for clip in augmented(train)) > 55


def test_files_that_do_not_belong_together_are_refused(folder):
    (folder / "clips.jsonl").write_text(json.dumps(ENTRIES[0]))
    with pytest.raises(ValueError, match="expected 1 clips"):
        read_clips(folder)
    (folder / "mocap.npz").unlink()
    with pytest.raises(FileNotFoundError, match="--mocap"):
        read_clips(folder)


def test_windows_of_real_motion_are_varied_now_and_then():
    rng, rows, other = np.random.default_rng(0), torch.ones(8, 263), torch.zeros(8, 263)
    made = [varied(rows, other, rng) for _ in range(400)]
    exchanged = np.mean([bool((window[:, UPPER_BODY] == 0).all()) for window in made])
    curved = np.mean([bool((window[:, 0] != 1).any()) for window in made])
    assert abs(exchanged - EXCHANGED) < 0.06 and abs(curved - VARIED) < 0.08 and (rows == 1).all()
