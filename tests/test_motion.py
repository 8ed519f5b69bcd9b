"""Motion files, HumanML3D features both ways, and joining motions."""
from pathlib import Path

import numpy as np
import pytest
import torch

from synthetic.motions import sample_motion
from t2m.features import canonical, CONTACTS, FEATURE_BLOCKS, features, joints_from_features, VELOCITIES
from t2m.joining import contact_spans, join_motions, turning
from t2m.motion import (bone_lengths, heading, JOINT_NAMES, LEFT_ANKLE, LEFT_TOE, LEFT_WRIST, LEGS, Motion, NUM_JOINTS,
                        PARENTS, PELVIS, quaternion_between, retargeted, RIGHT_ANKLE, RIGHT_TOE, RIGHT_WRIST, rotated,
                        within_half_turn, yaw_rotated)

FIXTURES = Path(__file__).parent / "fixtures" / "t2m"
FLOOR_AXES = [0, 2]


def moving(kind: str, seconds: float = 3.0, seed: int = 0, **options) -> Motion:
    return sample_motion(kind, seconds, np.random.default_rng(seed), **options).motion


def steps(joints: np.ndarray) -> np.ndarray:
    """Largest joint displacement between neighbouring frames. (T, 22, 3) -> (T - 1,) metres"""
    return np.linalg.norm(np.diff(joints, axis=0), axis=-1).max(axis=1)


def test_a_saved_motion_loads_equal(tmp_path):
    motion = moving("wave")
    motion.save(tmp_path / "deep" / "motion.npz")
    loaded = Motion.load(tmp_path / "deep" / "motion.npz")
    assert np.array_equal(loaded.joints, motion.joints) and loaded.fps == motion.fps
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["motion.npz"]


@pytest.mark.parametrize("joints, word", [(np.zeros((5, 24, 3)), "22"), (np.zeros((0, 22, 3)), "T >= 1"),
                                          (np.full((2, 22, 3), np.nan), "finite")])
def test_a_motion_refuses_what_is_not_one(joints, word):
    with pytest.raises(ValueError, match=word):
        Motion(joints)


def test_a_file_that_is_no_motion_is_named(tmp_path):
    np.savez(tmp_path / "other.npz", joints=np.zeros((2, 22, 3)))
    with pytest.raises(ValueError, match="other.npz.*fps"):
        Motion.load(tmp_path / "other.npz")
    Motion(np.zeros((40, 22, 3))).save(tmp_path / "cut.npz")
    (tmp_path / "cut.npz").write_bytes((tmp_path / "cut.npz").read_bytes()[:-200])
    with pytest.raises(ValueError, match="cut.npz: expected a motion file"):
        Motion.load(tmp_path / "cut.npz")


def test_every_joint_hangs_from_an_earlier_one():
    assert all(parent < joint for joint, parent in enumerate(PARENTS)) and len(PARENTS) == len(JOINT_NAMES)


def test_features_equal_the_published_ones():
    """notes/t2m.md §7: HumanML3D's process_file on a synthetic motion; the rotations carry the most float32 noise."""
    golden = np.load(FIXTURES / "features.npz")
    joints = retargeted(golden["in_joints"], np.linalg.norm(golden["in_target_offsets"], axis=-1))
    np.testing.assert_allclose(canonical(joints), golden["out_global_positions"], atol=3e-5)
    rows = features(Motion(joints))
    np.testing.assert_allclose(rows[:, :CONTACTS.start], golden["out_vec263"][:, :CONTACTS.start], atol=3e-5)
    assert np.array_equal(rows[:, CONTACTS], golden["out_vec263"][:, CONTACTS])


@pytest.mark.parametrize("case", ["h3d_T40", "h3d_T1", "h3d_unbatched"])
def test_joints_equal_the_published_recovery(case):
    golden = np.load(FIXTURES / "recovery.npz")
    joints = joints_from_features(torch.from_numpy(golden[f"in_{case}"]))
    np.testing.assert_allclose(joints.numpy(), golden[f"out_{case}"], atol=1e-5)


@pytest.mark.parametrize("kind", ["walk", "spin", "kick", "touch_toes", "jumping_jack"])
def test_features_and_back_is_the_same_motion(kind):
    motion = moving(kind)
    joints = joints_from_features(torch.from_numpy(features(motion))).numpy()
    np.testing.assert_allclose(joints, canonical(motion.joints)[:-1], atol=2e-4)


@pytest.mark.parametrize("smoothing", [20.0, 2.0])
@pytest.mark.parametrize("kind, seconds", [("spin", 6.0), ("turn", 8.0)])
def test_turning_past_half_a_turn_is_kept(kind, seconds, smoothing):
    """The quaternion of the heading changes sign there; upstream then turns back for one frame."""
    motion = moving(kind, seconds, seed=3, side="left")
    joints = joints_from_features(torch.from_numpy(features(motion, smoothing))).numpy()
    np.testing.assert_allclose(joints, canonical(motion.joints)[:-1], atol=5e-4)


def test_features_do_not_know_where_the_motion_happened():
    motion = moving("walk")
    elsewhere = Motion(yaw_rotated(motion.joints.astype(np.float64), 2.0) + (3.0, 0.2, -1.0))
    np.testing.assert_allclose(features(elsewhere), features(motion), atol=2e-4)


def test_feature_blocks_cover_every_column_once():
    columns = [column for block in FEATURE_BLOCKS for column in range(block.start, block.stop)]
    assert columns == list(range(263)) and VELOCITIES.stop == CONTACTS.start


def test_opposite_vectors_turn_half_round_instead_of_nan():
    start = np.array([(1.0, 0, 0), (0, 1.0, 0), (0, 0, 1.0)])
    np.testing.assert_allclose(rotated(quaternion_between(start, -start), start), -start, atol=1e-9)


def test_a_joined_motion_has_the_frames_of_its_parts():
    parts = [moving("walk", 2.0), moving("bow", 3.1), moving("wave", 1.0)]
    joined = join_motions(parts, transition_seconds=0.5)
    assert len(joined) == sum(map(len, parts)) and joined.fps == parts[0].fps


@pytest.mark.parametrize("kinds", [("walk", "wave"), ("run", "sit"), ("raise_arm", "cross_arms"), ("spin", "kick"),
                                   ("crouch", "jump")])
def test_no_joint_jumps_at_a_seam(kinds):
    parts = [moving(kind, 3.0, seed) for seed, kind in enumerate(kinds)]
    joined = join_motions(parts, transition_seconds=0.5).joints
    seam = len(parts[0])
    fastest = max(steps(part.joints).max() for part in parts)
    assert steps(joined[seam - 1:seam + 12]).max() < max(1.05 * fastest, 0.20)           # 0.20 m/frame: a quick step
    assert steps(joined[seam - 1:seam + 1])[0] < max(steps(parts[0].joints)[-1], 0.03) + 0.10


def test_the_next_motion_goes_on_where_and_as_the_last_one_stopped():
    first, second = moving("turn", 3.0, side="left"), moving("walk", 3.0)
    joined = join_motions([first, second], transition_seconds=0.5).joints.astype(np.float64)
    travelled = joined[-1, PELVIS] - joined[len(first), PELVIS]
    expected = yaw_rotated(second.joints[-1, PELVIS] - second.joints[0, PELVIS],
                           heading(first.joints[-1]) - heading(second.joints[0]))
    assert np.linalg.norm((travelled - expected)[FLOOR_AXES]) < 0.1
    assert np.linalg.norm(travelled[FLOOR_AXES]) > 0.5


def ending_turned(motion: Motion, yaw: float) -> Motion:
    """The motion with a turn to the left of `yaw` radians spread over it."""
    return Motion(turning(motion.joints.astype(np.float64), np.linspace(0, yaw, len(motion))), motion.fps)


@pytest.mark.parametrize("text, ended, expected", [
    ("a person throws a ball", 0.9, 0.0), ("a person spins around", -0.6, 0.0), ("he rotates both arms", 0.5, 0.0),
    ("she turns her head", 0.6, 0.0), ("a man turns around", 2.8, np.pi),
    ("a man turns to the right", -1.3, -np.pi / 2),
    ("a person walks in a circle", 0.3, 0.0), ("she turns slightly to the left", 0.4, 0.4),
    ("he turns 45 degrees", 0.8, 0.8),
])
def test_only_who_is_told_to_turn_goes_on_turned(text, ended, expected):
    first, walk = ending_turned(moving("wave"), ended), moving("walk", 4.0)
    joined = join_motions([first, walk], 0.5, [text, "a person walks"]).joints.astype(np.float64)
    assert abs(within_half_turn(heading(joined[-1]) - heading(walk.joints[-1]) - expected)) < 0.05
    went = yaw_rotated(joined[-1, PELVIS] - joined[len(first) + 20, PELVIS], -expected)      # as seen by the walker
    assert went[2] > 1.0 and abs(went[0]) < 0.15 * went[2]


def test_a_turned_end_is_turned_back_without_a_jump():
    parts = [ending_turned(moving("stand"), 1.2), moving("wave"), moving("walk")]
    joined = join_motions(parts, 0.5, ["a person throws", "a person waves", "a person walks"]).joints
    assert len(joined) == sum(map(len, parts)) and steps(joined).max() < 1.15 * steps(join_motions(parts, 0.5).joints).max()
    seam = joined[len(parts[0]) - 1:len(parts[0]) + 14].astype(np.float64)
    yaws = [heading(pose) for pose in seam]
    assert np.abs(np.diff(yaws)).max() < 0.25 and yaws[0] > 1.1 and abs(yaws[-1]) < 0.1
    with pytest.raises(ValueError, match="one text for each of 3"):
        join_motions(parts, 0.5, ["a person waves"])


def test_standing_feet_hold_still_though_the_motion_drifts():
    rng = np.random.default_rng(0)
    walk = moving("walk", 4.0)
    drift = np.cumsum(rng.normal(0, 0.002, (len(walk), 1, 3)), axis=0) * (1, 0, 1)
    drifting = Motion(walk.joints + drift)
    for _, _, ankle, toe in LEGS:
        spans = contact_spans(drifting.joints[:, toe].astype(np.float64))
        assert len(spans) >= 2
        for joints, bound in ((drifting.joints, np.inf), (join_motions([drifting]).joints, 0.004)):
            slide = [np.ptp(joints[span, toe][:, FLOOR_AXES], axis=0).max() for span in spans]
            assert max(slide) < bound
        assert max(np.ptp(drifting.joints[span, toe][:, FLOOR_AXES], axis=0).max() for span in spans) > 0.005


def test_joining_keeps_bone_lengths():
    parts = [moving("kick", 2.0), moving("sit", 2.0), moving("wave", 2.0)]
    joints = join_motions(parts).joints
    bones = np.linalg.norm(joints[:, 1:] - joints[:, list(PARENTS[1:])], axis=-1)
    np.testing.assert_allclose(bones, np.broadcast_to(bone_lengths(parts[0].joints)[1:], bones.shape), atol=2e-3)


def test_a_clean_motion_alone_is_left_as_it_is():
    motion = moving("wave", 3.0)
    np.testing.assert_allclose(join_motions([motion]).joints, motion.joints, atol=5e-3)


def test_bones_that_are_steadied_leave_the_feet_where_they_were_drawn():
    """Weights let bones waver: here all lengthen by 4 % and shorten again, on a person who squats with the feet on the floor."""
    joints = moving("squat").joints
    wavering = joints * (1 + 0.04 * np.sin(np.linspace(0, np.pi, len(joints)))[:, None, None])
    low = join_motions([Motion(wavering)]).joints[..., 1].min(axis=1)
    assert np.abs(low - wavering[..., 1].min(axis=1)).max() < 0.01


def test_all_parts_stand_on_one_floor():
    """The second motion is drawn 8 cm in the air, as weights do: it comes down over the seam."""
    waving, floating = moving("wave").joints, Motion(moving("walk").joints + np.float32([0, 0.08, 0]))
    joints = join_motions([Motion(waving), floating], transition_seconds=0.5).joints
    low = joints[..., 1].min(axis=1)
    assert np.abs(np.percentile(low[-40:], 25) - low[0]) < 0.01


def test_feet_step_instead_of_sliding_at_a_seam():
    """A wide stance followed by a narrow one: a foot that moves across the floor is in the air while it does."""
    wide, narrow = moving("side_step", 2.0, seed=5, side="left"), moving("stand", 2.0)
    wide = Motion(wide.joints[:25])
    joints = join_motions([wide, narrow], transition_seconds=0.6).joints
    seam = joints[len(wide) - 1:len(wide) + 14]
    for toe in (LEFT_TOE, RIGHT_TOE):
        moved = np.linalg.norm(np.diff(seam[:, toe], axis=0)[:, FLOOR_AXES], axis=-1)
        lifted = np.minimum(seam[1:, toe, 1], seam[:-1, toe, 1]) - joints[:, toe, 1].min()
        assert (moved[lifted < 0.004] < 0.03).all()


def test_joining_refuses_what_does_not_fit_together():
    with pytest.raises(ValueError, match="at least one"):
        join_motions([])
    with pytest.raises(ValueError, match="one frame rate"):
        join_motions([moving("wave"), Motion(moving("wave").joints, fps=30)])
    with pytest.raises(ValueError, match="transition_seconds"):
        join_motions([moving("wave")], transition_seconds=-1)


def test_joints_are_named_for_their_side():
    motion = moving("arms_out", 4.0)
    middle = motion.joints[len(motion) // 2]
    assert middle[LEFT_WRIST, 0] > 0.4 and middle[RIGHT_WRIST, 0] < -0.4                 # left is +x
    assert middle[LEFT_ANKLE, 0] > middle[RIGHT_ANKLE, 0] and NUM_JOINTS == 22
