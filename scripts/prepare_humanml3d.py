"""Make HumanML3D's training folder from joints: features, mirrored motions, mean and deviation, checked.

    python scripts/prepare_humanml3d.py JOINTS data/HumanML3D --offsets data/HumanML3D/new_joints/000021.npy
    python scripts/prepare_humanml3d.py JOINTS data/HumanML3D --check Mean.npy Std.npy

JOINTS holds NAME.npy, (T, 22 or more, 3) metres at 20 fps, y up, in SMPL's order: what AMASS gives through SMPL+H, or
any motion capture put on those joints. HumanML3D may not be given away (AMASS's licence), so everybody makes it. Files
that exist are kept, so an interrupted run goes on; a motion that cannot be used is listed with its reason in skipped.txt.
"""
from __future__ import annotations

if __name__ == "__main__":
    from runtime.terminal import interruptible

    interruptible()                     # also while the following is imported

import argparse
import logging
from pathlib import Path

import numpy as np
from tqdm import tqdm

from configs import run_main, whole_number
from media.files import entries, locked, save_array, save_text
from t2m.features import (canonical, CONTACTS, FEATURE_BLOCKS, features, NUM_FEATURES, ROOT_HEIGHT, ROOT_VELOCITY,
                          YAW_VELOCITY)
from t2m.motion import HEAD, JOINT_NAMES, LEFT_ANKLE, LEFT_KNEE, Motion, NUM_JOINTS, PARENTS, retargeted, RIGHT_ANKLE, RIGHT_KNEE
from t2m.motion_set import read_array, statistics_file

log = logging.getLogger(__name__)

MIRRORED = "M"                     # before the names of mirrored motions, as published
SHORTEST = 3                       # frames
EMPHASIS = 5.0                     # the published training divides the root's and contacts' deviations by this
LEGS = [LEFT_KNEE, LEFT_ANKLE, RIGHT_KNEE, RIGHT_ANKLE]      # the bones that end there
LEG_METRES = 0.3, 1.6              # a small child's, a giant's
USUAL_LEG = 0.85                   # metres
UNITS = {"millimetres": 0.001, "centimetres": 0.01, "inches": 0.0254, "feet": 0.3048}        # in metres
LEG_CHANGE = 2.0                   # times, of a leg's length from frame to frame, that no body has
LARGEST_STEP = 1.0                 # metres between two frames, 20 m/s
LARGEST_FEATURE = 100.0            # metres, radians, metres per frame
UPRIGHT = 0.9                      # cosine of the angle between a standing body and the way up
MOSTLY = 0.9                       # of the frames
TOLERANCE = 0.05                   # of a block's deviation; the published notebooks' own runs differ by less


def mirrored(joints: np.ndarray) -> np.ndarray:
    """The motion in a mirror: x turned round, left and right exchanged. (T, 22, 3)"""
    partner = [JOINT_NAMES.index(swapped(name)) for name in JOINT_NAMES]
    return joints[:, partner] * (-1, 1, 1)


def swapped(name: str) -> str:
    """The joint's name on the other side."""
    side, _, rest = name.partition("_")
    return {"left": f"right_{rest}", "right": f"left_{rest}"}.get(side, name)


def read_joints(path: Path) -> np.ndarray:
    """(T, 22, 3) metres; a ValueError says why a file cannot be used."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a .npy file of joints (found none): check the path")
    joints = read_array(path)
    if joints.ndim != 3 or joints.shape[1] < NUM_JOINTS or joints.shape[2] != 3:
        raise ValueError(f"expected (T, {NUM_JOINTS} or more, 3) (found {joints.shape})")
    if len(joints) < SHORTEST:
        raise ValueError(f"expected at least {SHORTEST} frames (found {len(joints)})")
    joints = joints[:, :NUM_JOINTS].astype(np.float64)
    check_body(joints)
    return joints


def check_body(joints: np.ndarray) -> None:
    """A ValueError unless joints (T, 22, 3) are a person's, in metres, y up.

    A body that lies on its back all the time cannot be told from one that stands with z up, and is refused as well.
    """
    if not np.isfinite(joints).all():
        raise ValueError("expected finite numbers (found NaN or infinity)")
    bones = np.linalg.norm(joints - joints[:, list(PARENTS)], axis=-1)                # (T, 22) metres
    legs = bones[:, LEGS].sum(axis=1) / 2                                             # (T,)
    leg = float(np.median(legs))
    if not LEG_METRES[0] <= leg <= LEG_METRES[1]:
        unit = min(UNITS, key=lambda name: abs(leg * UNITS[name] - USUAL_LEG))
        fits = LEG_METRES[0] <= leg * UNITS[unit] <= LEG_METRES[1]
        raise ValueError(f"expected metres (found legs {leg:.3g} long){f': are these {unit}?' if fits else ''}")
    odd = np.flatnonzero((legs < leg / LEG_CHANGE) | (legs > leg * LEG_CHANGE))
    if len(odd):
        raise ValueError(f"expected one body (found legs {legs[odd[0]]:.3g} m long in frame {odd[0]}, {leg:.3g} m elsewhere): "
                         "leave those frames out")
    steps = np.linalg.norm(np.diff(joints[:, 0], axis=0), axis=-1)                    # (T - 1,) metres
    if steps.size and steps.max() > LARGEST_STEP:
        raise ValueError(f"expected a person's speed (found {steps.max():.3g} m between frames {steps.argmax()} and "
                         f"{steps.argmax() + 1}): cut it there")
    upward = joints[:, HEAD] - joints[:, [LEFT_ANKLE, RIGHT_ANKLE]].mean(axis=1)      # (T, 3)
    upward /= np.maximum(np.linalg.norm(upward, axis=-1, keepdims=True), 1e-6)
    for axis, name in ((0, "x"), (2, "z"), (1, "y")):
        for sign in (1, -1)[axis == 1:]:
            if (sign * upward[:, axis] > UPRIGHT).mean() > MOSTLY:
                raise ValueError(f"expected y up (found a body that stands along {'-' * (sign < 0)}{name}): turn it")


def bone_offsets(joints: np.ndarray) -> np.ndarray:
    """From each joint's parent, in the first frame: the skeleton all motions are put on. (22, 3)"""
    offsets = joints[0] - joints[0, list(PARENTS)]
    offsets[0] = 0
    return offsets


def prepared(joints: np.ndarray, offsets: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Joints (T - 1, 22, 3) and features (T - 1, 263) of a motion, on the common skeleton when there is one."""
    if offsets is not None:
        joints = retargeted(joints, np.linalg.norm(offsets, axis=-1))
    rows = features(Motion(joints))
    if not np.isfinite(rows).all():
        raise ValueError("expected a motion that gives finite features (found NaN or infinity)")
    return canonical(joints)[:-1].astype(np.float32), rows


def usable(joints: Path, rows: Path) -> bool:
    """Whether an earlier run left both files of a motion, whole and of a body."""
    try:
        body, numbers = read_array(joints), read_array(rows)
        check_body(body)
    except (ValueError, OSError, IndexError):
        return False
    return numbers.shape == (len(body), NUM_FEATURES) and bool((np.abs(numbers) < LARGEST_FEATURE).all())     # not NaN


def prepare(source: Path, target: Path, offsets: np.ndarray | None, mirror: bool) -> list[str]:
    """Write new_joints/ and new_joint_vecs/; the names that are there afterwards.

    What an earlier run left is kept where it is usable, and made again, or taken away, where not.
    """
    listed, names, skipped = entries(source) if source.is_dir() else [], [], []
    files = [path for path in listed if path.suffix == ".npy" and path.is_file()]
    if not files:
        raise ValueError(f"{source}: expected NAME.npy files of joints (found none): check the path")
    for part in ("new_joints", "new_joint_vecs"):
        (target / part).mkdir(parents=True, exist_ok=True)
    for path in tqdm(files, desc="features", unit="motion"):
        for name, turn in ((path.stem, lambda joints: joints), (MIRRORED + path.stem, mirrored))[:1 + mirror]:
            body, vectors = (target / part / f"{name}.npy" for part in ("new_joints", "new_joint_vecs"))
            if not usable(body, vectors):
                try:
                    joints, rows = prepared(turn(read_joints(path)), offsets)
                except ValueError as error:
                    skipped.append(f"{name}: {str(error).removeprefix(f'{path}: ')}")
                    body.unlink(missing_ok=True)
                    vectors.unlink(missing_ok=True)
                    continue
                save_array(body, joints)
                save_array(vectors, rows)
            names.append(name)
    (target / "skipped.txt").write_text("".join(f"{line}\n" for line in skipped))
    if skipped:
        log.warning("%d motions left out (%s): %s", len(skipped), skipped[0], target / "skipped.txt")
    if not names:
        raise ValueError(f"{source}: expected motions that can be used (found none, first: {skipped[0]})")
    return names


def statistics(target: Path, names: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of every column, (263,) each, the deviation averaged over blocks as in Std.npy."""
    count, total, squares = 0, 0.0, 0.0
    for name in tqdm(names, desc="statistics", unit="motion"):
        rows = np.load(target / "new_joint_vecs" / f"{name}.npy").astype(np.float64)
        count, total, squares = count + len(rows), total + rows.sum(0), squares + (rows**2).sum(0)
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 0))
    for block in FEATURE_BLOCKS:
        std[block] = std[block].mean()
    if not (np.isfinite(mean).all() and np.isfinite(std).all() and std.min() > 0):
        raise ValueError(f"{target}: expected motions that differ (found a feature without deviation): add motions")
    return mean, std


def with_emphasis(std: np.ndarray) -> np.ndarray:
    """The deviation T2M-GPT's release was trained with: the root's and the contacts' shrunk twice by 5."""
    out = std.copy()
    for block in (YAW_VELOCITY, ROOT_VELOCITY, ROOT_HEIGHT, CONTACTS):
        out[block] /= EMPHASIS**2
    return out


def check(mean: np.ndarray, std: np.ndarray, mean_path: Path, std_path: Path) -> None:
    """Compare with given statistics, block by block; a ValueError names the worst block that does not fit."""
    given_mean = statistics_file(mean_path, positive=False).double().numpy()
    given_std = statistics_file(std_path, positive=True).double().numpy()
    worst = (0.0, "")
    for name, block in zip(("yaw velocity", "root velocity", "root height", "positions", "rotations", "velocities",
                            "contacts"), FEATURE_BLOCKS, strict=True):
        apart = np.abs(mean[block] - given_mean[block]).max() / given_std[block].mean()
        ratio = std[block].mean() / given_std[block].mean()
        log.info("%-14s mean apart by %.4f deviations, deviation %.4f of the given one", name, apart, ratio)
        worst = max(worst, (max(apart, abs(ratio - 1)), name))
    if worst[0] > TOLERANCE:
        hint = "are these the same motions, at 20 fps?"
        if abs(np.median(std[CONTACTS] / given_std[CONTACTS]) - EMPHASIS**2) < 5:
            hint = "the given deviations are the released evaluator's, not HumanML3D's: compare with --emphasis"
        raise ValueError(f"{std_path}: expected the same statistics within {TOLERANCE:.0%} (found {worst[0]:.1%} in "
                         f"{worst[1]}): {hint}")


def split_names(target: Path, names: list[str], seed: int) -> None:
    """train.txt, val.txt and test.txt (80, 5, 15 of 100) where missing; a motion and its mirror stay together."""
    if all((target / f"{part}.txt").exists() for part in ("train", "val", "test")):
        return
    there = set(names)
    plain = sorted(name for name in names if not (name.startswith(MIRRORED) and name[1:] in there))
    order = np.random.default_rng(seed).permutation(plain).tolist()
    ends = round(0.8 * len(order)), round(0.85 * len(order))
    for part, chosen in zip(("train", "val", "test"), (order[:ends[0]], order[ends[0]:ends[1]], order[ends[1]:])):
        lines = [name for plain_name in chosen for name in (plain_name, MIRRORED + plain_name) if name in there]
        save_text(target / f"{part}.txt", "".join(f"{name}\n" for name in lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("joints", type=Path, help="folder of NAME.npy")
    parser.add_argument("target", type=Path, help="folder to make; put HumanML3D's texts/ and lists into it")
    parser.add_argument("--offsets", type=Path, help="joints whose first frame is the skeleton to put all motions on")
    parser.add_argument("--no-mirror", action="store_true", help="leave out the mirrored motions")
    parser.add_argument("--emphasis", action="store_true", help="shrink the root's deviations as the release does")
    parser.add_argument("--check", nargs=2, type=Path, metavar=("MEAN", "STD"), help="compare with these statistics")
    parser.add_argument("--seed", type=whole_number(0), default=0, help="of the split, where there is none")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    offsets = bone_offsets(read_joints(arguments.offsets)) if arguments.offsets else None
    with locked(arguments.target):
        make(arguments, offsets)


def make(arguments: argparse.Namespace, offsets: np.ndarray | None) -> None:
    """All files of the target, and the comparison that is asked for."""
    names = prepare(arguments.joints, arguments.target, offsets, not arguments.no_mirror)
    mean, std = statistics(arguments.target, names)
    std = with_emphasis(std) if arguments.emphasis else std
    for name, values in (("Mean", mean), ("Std", std)):
        save_array(arguments.target / f"{name}.npy", values)
    split_names(arguments.target, names, arguments.seed)
    log.info("%d motions in %s", len(names), arguments.target)
    if arguments.check:
        check(mean, std, *arguments.check)


if __name__ == "__main__":
    run_main(main)
