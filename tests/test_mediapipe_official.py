"""Every stage of the photograph detector against mediapipe 0.10.21 itself: pytest --goldens=FOLDER, which holds mediapipe/golden.npz.

Stages start from the official input of that stage and are held tightly; whole runs loosely, because one grey level can
move the official landmarks by pixels. The numbers that fixtures/ holds are compared in test_mediapipe.py, always.
"""
import numpy as np
import pytest

from dwpose.mediapipe_networks import crop, Region, whole
from dwpose.mediapipe_person import FollowedPerson, person_mask, region_of_detection

LANDMARK_PIXELS, MEDIAN_PIXELS = 0.1, 0.005     # of one stage
STILL_PIXELS = 0.25                             # of a whole run on a picture, x and y
CLIP_PIXELS, CLIP_SHARE = 0.5, 0.95             # of a clip: so many of the points lie so near


@pytest.fixture(scope="module")
def golden(goldens):
    with np.load(goldens("mediapipe", "golden.npz") / "golden.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def networks(photograph_detector):
    return photograph_detector.networks


def region(values, size) -> Region:
    return Region(*(float(value) for value in (values[0] * size[1], values[1] * size[0], values[2] * size[1], values[4])))


def pixels(points, size) -> np.ndarray:
    placed = points.astype(np.float64)
    placed[..., :3] *= (size[1], size[0], size[1])
    return placed


def samples(golden):
    """Picture and official results of eight stills with a person and of all frames of the clip."""
    for name in golden["names"]:
        if name != "noperson":
            yield golden[f"{name}/image"], {key.split("/", 1)[1]: values for key, values in golden.items() if key.startswith(f"{name}/")}
    for frame, picture in enumerate(golden["clip/image"]):
        yield np.ascontiguousarray(picture), {key.split("/", 1)[1]: values[frame] for key, values in golden.items()
                                              if key.startswith("clip/") and values.shape[:1] == (24,)}


def test_crops_are_the_official_tensors(golden):
    picture = golden["mp_ref/image"]
    size, differing = picture.shape[:2], 0
    for name, where, side, border in (("pose_det_in", whole(size), 224, "black"), ("pose_lm_in", "pose_rect", 256, "edge"),
                                      ("lh_recrop_in", "left_hand_roi_from_pose", 256, "edge"), ("lh_lm_in", "left_hand_roi", 224, "edge"),
                                      ("face_det_in", "face_roi_from_pose", 128, "black"), ("face_lm_in", "face_roi", 192, "edge")):
        where = where if isinstance(where, Region) else region(golden[f"mp_ref/{where}"], size)
        apart = np.abs(crop(picture, where, side, border=border).astype(int) - golden[f"raw/{name}"])
        assert apart.max() <= 1, name
        differing += int((apart > 0).sum())
    print(f"{differing} of 696,960 values differ, by 1")
    assert differing <= 100


def test_networks_give_the_official_outputs_for_the_official_tensors(golden, networks):
    for network, given, outputs, tolerance in (
            (networks.pose_detector, "pose_det_in", ("pose_det_boxes", "pose_det_scores"), 2e-2),
            (networks.pose_reader, "pose_lm_in", ("pose_lm_out", "pose_lm_flag", "pose_lm_seg", "pose_lm_heat", "pose_lm_world"), 2e-2),
            (networks.hand_finder, "lh_recrop_in", ("lh_recrop_out",), 1e-3),
            (networks.hand_reader, "lh_lm_in", ("lh_lm_out", "lh_lm_flag", "lh_lm_handed", "lh_lm_world"), 1e-2),
            (networks.face_detector, "face_det_in", ("face_det_boxes", "face_det_scores"), 1e-3),
            (networks.face_reader, "face_lm_in", ("face_lm_out", "face_lm_flag"), 1e-2)):
        for name, found in zip(outputs, network(golden[f"raw/{given}"])):
            apart = np.abs(found.ravel() - golden[f"raw/{name}"].ravel()).max()
            print(f"{name}: {apart:.1e}")
            assert apart < tolerance, name


def test_stages_from_official_regions_are_within_a_tenth_of_a_pixel(golden, networks):
    apart = {"pose": [], "visibility": [], "hand": [], "face": [], "mask": []}
    for picture, expected in samples(golden):
        size = picture.shape[:2]
        pose = networks.pose(picture, region(expected["pose_rect"], size))
        apart["pose"].append(np.abs(pose.points - pixels(expected["pose_unfiltered"], size))[:, :2].max(axis=1))
        apart["visibility"].append(np.abs(pose.points[:, 3] - expected["pose_unfiltered"][:, 3]))
        mask, official = person_mask(pose, size), expected["mask_u8"] / 255
        apart["mask"].append(np.abs(mask[::mask.shape[0] // len(official), ::mask.shape[0] // len(official)] - official).ravel())
        for side, short in (("left", "lh"), ("right", "rh")):
            if np.isfinite(expected[short]).all():
                hand, _ = networks.hand(picture, region(expected[f"{side}_hand_roi"], size))
                apart["hand"].append(np.abs(hand - pixels(expected[short], size))[:, :2].max(axis=1))
        if np.isfinite(expected["face"]).all():
            face, _ = networks.face(picture, region(expected["face_roi"], size))
            apart["face"].append(np.abs(face - pixels(expected["face"], size))[:, :2].max(axis=1))
    apart = {name: np.concatenate(values) for name, values in apart.items()}
    for name, values in apart.items():
        print(f"{name}: max {values.max():.1e}, median {np.median(values):.1e}, of {values.size:,}")
    for name in ("pose", "hand", "face"):
        assert apart[name].max() < LANDMARK_PIXELS and np.median(apart[name]) < MEDIAN_PIXELS, name
    assert apart["visibility"].max() < 2e-3 and apart["mask"].mean() < 2e-3 and apart["mask"].max() < 0.1


def test_whole_runs_on_pictures(golden, networks):
    worst = 0.0
    for name in golden["names"]:
        picture = golden[f"{name}/image"]
        size, found = picture.shape[:2], networks.poses(picture, whole(picture.shape[:2]))
        if name == "noperson":
            assert not found
            continue
        reading = FollowedPerson(networks, region_of_detection(found[0].points)).read(picture, 1 / 30)
        for points, key in ((reading.points, "pose"), (reading.hands.get("left"), "lh"), (reading.hands.get("right"), "rh"), (reading.face, "face")):
            expected = golden[f"{name}/{key}"]
            assert (points is not None) == bool(np.isfinite(expected).all()), (name, key)
            if points is not None:
                worst = max(worst, np.abs(points - pixels(expected, size)[:, :points.shape[1]])[:, :2].max())
    print(f"largest distance {worst:.3f} pixels")
    assert worst < STILL_PIXELS


@pytest.mark.parametrize("name", ["clip", "lost"])
def test_whole_runs_on_a_clip_and_after_losses(golden, networks, name):
    order = golden["lost/sequence"] if name == "lost" else np.arange(24)
    person, apart = FollowedPerson(networks, None), []
    for frame, source in enumerate(order):
        picture = np.full_like(golden["clip/image"][0], 128) if source < 0 else np.ascontiguousarray(golden["clip/image"][source])
        size = picture.shape[:2]
        if person.region is None and (found := networks.poses(picture, whole(size))):
            person.region = region_of_detection(found[0].points)
        reading = person.read(picture, 1 / 30) if person.region else None
        assert (reading is not None) == bool(np.isfinite(golden[f"{name}/pose"][frame]).all())
        for key, points in () if reading is None else (("pose", reading.points), ("lh", reading.hands.get("left")),
                                                       ("rh", reading.hands.get("right")), ("face", reading.face)):
            expected = pixels(golden[f"{name}/{key}"][frame], size)
            assert (points is not None) == bool(np.isfinite(expected).all()), (frame, key)
            if points is not None:
                apart.append(np.abs(points - expected[:, :points.shape[1]])[:, :2].max(axis=1))
    apart = np.concatenate(apart)
    print(f"{(apart < CLIP_PIXELS).mean():.4f} of {apart.size:,} points within {CLIP_PIXELS} pixels, the farthest {apart.max():.2f}")
    assert (apart < CLIP_PIXELS).mean() > CLIP_SHARE
