"""The puppet moves the picture's own pixels: limbs arrive where they are told to, and what they covered shows again."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import renderers.mimicmotion
from dwpose import skeleton as coco
from dwpose.skeleton import Skeleton
from media.images import read_image
from mimicmotion.checkpoint import save_checkpoint
from mimicmotion.pipeline import PoseToVideo
from motionbench.picture import psnr
from renderers import MimicMotionConfig, Scene, VideoModelConfig
from renderers.mimicmotion import MimicMotion
from puppet.cutout import filled
from puppet.layers import cut_layers
from puppet.parts import distance_to
from puppet.limbs import posed
from puppet.points import body_points, followed, HEAD, KNEES, NECK, PELVIS, person_size, whole_reference
from puppet.unseen import back_of_head
from renderers.puppet import at_bends, Puppet, PuppetConfig
from synthetic.clips import sample_clip

SIZE = (320, 200)
WALL, TRUNK, ARM, LEG, SKIN = (200, 205, 190), (40, 60, 160), (200, 50, 40), (40, 130, 60), (225, 180, 150)
JOINTS = {                              # x, y; the right arm hangs across the trunk's edge, the left one hangs free
    coco.NOSE: (100, 52), coco.LEFT_EYE: (106, 46), coco.RIGHT_EYE: (94, 46), coco.LEFT_EAR: (113, 49), coco.RIGHT_EAR: (87, 49),
    coco.LEFT_SHOULDER: (124, 90), coco.RIGHT_SHOULDER: (76, 90), coco.LEFT_ELBOW: (144, 128), coco.RIGHT_ELBOW: (66, 130),
    coco.LEFT_WRIST: (154, 166), coco.RIGHT_WRIST: (72, 166), coco.LEFT_HIP: (114, 168), coco.RIGHT_HIP: (86, 168),
    coco.LEFT_KNEE: (117, 226), coco.RIGHT_KNEE: (83, 226), coco.LEFT_ANKLE: (119, 284), coco.RIGHT_ANKLE: (81, 284),
    coco.LEFT_BIG_TOE: (124, 296), coco.RIGHT_BIG_TOE: (76, 296),
}
ARMS = ((coco.LEFT_SHOULDER, coco.LEFT_ELBOW, coco.LEFT_WRIST), (coco.RIGHT_SHOULDER, coco.RIGHT_ELBOW, coco.RIGHT_WRIST))
LEGS = ((coco.LEFT_HIP, coco.LEFT_KNEE, coco.LEFT_ANKLE, coco.LEFT_BIG_TOE),
        (coco.RIGHT_HIP, coco.RIGHT_KNEE, coco.RIGHT_ANKLE, coco.RIGHT_BIG_TOE))


def keypoints(**moved) -> np.ndarray:
    """(133, 3) of the figure, with joints at other places or None for unseen; names as in dwpose.skeleton, lower case."""
    result = np.zeros((coco.NUM_KEYPOINTS, 3), np.float32)
    for joint, place in JOINTS.items():
        result[joint] = (*place, 1)
    for name, place in moved.items():
        result[getattr(coco, name.upper())] = (0, 0, 0) if place is None else (*place, 1)
    return result


def skeleton(*frames: np.ndarray, size=SIZE) -> Skeleton:
    return Skeleton(np.stack(frames), size, 15)


def figure(arms: bool = True, behind: tuple = WALL) -> np.ndarray:
    """A flat person in five colours before a wall (320, 200, 3) uint8."""
    fine = np.empty((4 * SIZE[0], 4 * SIZE[1], 3), np.uint8)
    fine[:] = behind
    line = lambda joints, colour, width: cv2.polylines(fine, [np.array([JOINTS[j] for j in joints], np.int32) * 4], False, colour, 4 * width, cv2.LINE_AA)
    for leg in LEGS:
        line(leg, LEG, 18)
    cv2.fillConvexPoly(fine, np.array([(70, 86), (130, 86), (122, 178), (78, 178)], np.int32) * 4, TRUNK)
    cv2.rectangle(fine, (4 * 94, 4 * 60), (4 * 106, 4 * 88), SKIN, -1)
    cv2.circle(fine, (400, 196), 4 * 18, SKIN, -1, cv2.LINE_AA)
    if arms:
        for arm in ARMS:
            line(arm, ARM, 13)
    return cv2.resize(fine, SIZE[::-1], interpolation=cv2.INTER_AREA)


def mask_of(image: np.ndarray, reference: Skeleton | None = None) -> np.ndarray:
    return (np.abs(image.astype(int) - WALL).max(axis=2) > 30).astype(np.float32)


def rendered(motion: Skeleton, image: np.ndarray | None = None, reference: Skeleton | None = None, depth=None, seed: int = 0,
             mask=mask_of) -> np.ndarray:
    image = figure() if image is None else image
    scene = Scene(image, reference or skeleton(keypoints()), motion, "", depth)
    puppet = Puppet.load(PuppetConfig(mask="colour"), "cpu", mask=mask)
    return puppet(scene, torch.Generator().manual_seed(seed), progress=False)


def colour_at(frame: np.ndarray, x: float, y: float) -> np.ndarray:
    """Median of 5 x 5 pixels."""
    return np.median(frame[int(y) - 2:int(y) + 3, int(x) - 2:int(x) + 3].reshape(-1, 3), axis=0)


def is_colour(frame: np.ndarray, place: tuple, colour: tuple, tolerance: float = 30) -> bool:
    return bool(np.abs(colour_at(frame, *place) - colour).max() < tolerance)


RAISED = dict(right_elbow=(46, 62), right_wrist=(30, 28))


def test_a_person_who_stands_as_in_the_picture_is_the_picture():
    image = figure()
    assert psnr(rendered(skeleton(keypoints()), image), image[None]) >= 40
    clip = sample_clip(3, "wave", num_frames=1)
    still = rendered(clip.reference_skeleton, clip.reference, clip.reference_skeleton, mask=None)
    assert psnr(still, clip.reference[None]) >= 40


def test_a_raised_arm_ends_at_the_commanded_wrist_in_its_own_colour():
    frame = rendered(skeleton(keypoints(**RAISED)))[0]
    assert is_colour(frame, RAISED["right_wrist"], ARM) and is_colour(frame, (38, 45), ARM) and is_colour(frame, (60, 75), ARM)
    assert not is_colour(figure(), RAISED["right_wrist"], ARM)


def test_where_the_arm_was_one_sees_what_was_behind_it():
    frame = rendered(skeleton(keypoints(**RAISED)))[0]
    assert is_colour(frame, (64, 132), WALL, 12)                    # outside of the trunk
    assert is_colour(frame, (78, 140), TRUNK)                       # on it
    moved = rendered(skeleton(keypoints(left_elbow=(160, 70), left_wrist=(176, 40))))[0]
    assert is_colour(moved, (144, 128), WALL, 12) and is_colour(moved, (153, 162), WALL, 12)
    assert is_colour(moved, (134, 105), WALL, 12)                   # right below the shoulder no strip of it hangs on


def test_no_pixel_of_the_trunk_or_the_legs_travels_with_the_arm():
    frame = rendered(skeleton(keypoints(**RAISED)))[0].astype(int)
    above = frame[:84, :70].reshape(-1, 3)
    for colour in (TRUNK, LEG):
        assert (np.abs(above - colour).max(axis=1) < 40).sum() < 12


def test_a_wide_sleeve_stands_as_no_ring_beside_a_bent_elbow():
    fine = cv2.resize(figure(), None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
    for arm in ARMS:
        cv2.polylines(fine, [np.array([JOINTS[joint] for joint in arm], np.int32) * 4], False, ARM, 4 * 26, cv2.LINE_AA)
    elbow, wrist = (38, 96), (22, 60)
    frame = rendered(skeleton(keypoints(right_elbow=elbow, right_wrist=wrist)), cv2.resize(fine, SIZE[::-1], interpolation=cv2.INTER_AREA))[0].astype(int)
    away = np.minimum(distance_to((JOINTS[coco.RIGHT_SHOULDER], elbow), SIZE), distance_to((elbow, wrist), SIZE))
    assert ((np.abs(frame - ARM).max(axis=2) < 40) & (away > 14))[:, :70].sum() < 60
    assert is_colour(frame, elbow, ARM) and is_colour(frame, (30, 78), ARM)


def test_no_thread_of_a_raised_arm_stays_where_its_outer_edge_was():
    image = cv2.resize(read_image(Path(__file__).parents[1] / "assets" / "person_large.png"), (288, 512), interpolation=cv2.INTER_AREA)
    places = {"nose": (142, 166), "eye": (134, 161, 151, 161), "ear": (129, 168, 160, 168), "shoulder": (113, 214, 179, 213), "elbow": (103, 263, 186, 265),
              "wrist": (92, 307, 192, 310), "hip": (127, 305, 164, 306), "knee": (126, 380, 160, 380), "ankle": (126, 447, 162, 447), "big_toe": (113, 469, 168, 471)}
    own = {"nose": places.pop("nose")} | {f"{side}_{name}": place for name, both in places.items() for side, place in (("right", both[:2]), ("left", both[2:]))}
    raised = own | {"right_elbow": (93, 169), "right_wrist": (78, 119), "left_elbow": (199, 168), "left_wrist": (214, 118)}
    frame = rendered(skeleton(keypoints(**raised), size=(512, 288)), image, skeleton(keypoints(**own), size=(512, 288)), mask=None)[0].astype(int)
    beside = frame[226:255, 90:104]
    assert np.abs(beside - np.median(beside, axis=(0, 1))).max() < 25


def test_depth_decides_who_covers_whom():
    across = skeleton(keypoints(right_elbow=(62, 128), right_wrist=(100, 130)))
    metres = np.full((1, 17), 5.0, np.float32)
    nearer, farther = metres.copy(), metres.copy()
    nearer[:, [coco.RIGHT_ELBOW, coco.RIGHT_WRIST]] -= 0.3
    farther[:, [coco.RIGHT_ELBOW, coco.RIGHT_WRIST]] += 0.6
    assert is_colour(rendered(across, depth=nearer)[0], (92, 130), ARM)
    assert is_colour(rendered(across, depth=farther)[0], (92, 130), TRUNK)
    assert is_colour(rendered(across)[0], (92, 130), ARM)           # without depth arms are in front


def test_a_limb_the_picture_does_not_show_is_not_drawn():
    image = figure(arms=False)
    unseen = skeleton(keypoints(right_elbow=None, right_wrist=None, left_elbow=None, left_wrist=None))
    frame = rendered(skeleton(keypoints(**RAISED)), image, unseen)[0]
    assert is_colour(frame, RAISED["right_wrist"], WALL, 12) and is_colour(frame, (46, 62), WALL, 12)
    assert is_colour(frame, (100, 130), TRUNK)


def test_a_joint_unseen_for_some_frames_keeps_its_place_on_its_parent():
    shifted = keypoints()
    shifted[:, 0] += 20 * (shifted[:, 2] > 0)
    shifted[coco.RIGHT_WRIST] = 0
    places = followed(skeleton(keypoints(), shifted), whole_reference(body_points(keypoints()[None])[0]))
    assert np.allclose(places[1, coco.RIGHT_WRIST], (92, 166), atol=0.01)


def squatting() -> np.ndarray:
    """The figure 46 pixels lower on its feet, its thighs a fifth as long."""
    squat = {f"{side}_{joint}": (x, y) for side, sign in (("left", 1), ("right", -1)) for joint, x, y in
             (("hip", 100 + sign * 14, 214), ("knee", 100 + sign * 17, 226))}
    for joint, (x, y) in JOINTS.items():
        if y < 170 and joint not in (coco.LEFT_HIP, coco.RIGHT_HIP):
            squat[next(name for name in vars(coco) if getattr(coco, name) == joint and name.isupper()).lower()] = (x, y + 46)
    return keypoints(**squat)


def test_foreshortened_thighs_grow_no_wider_and_the_person_no_smaller():
    squat = skeleton(squatting())
    frame = rendered(squat)[0].astype(int)
    legs = np.abs(frame - LEG).max(axis=2) < 40
    assert np.flatnonzero(legs.any(axis=0)).min() > 50 and np.flatnonzero(legs.any(axis=0)).max() < 150
    assert is_colour(frame, (117, 250), LEG) and is_colour(frame, (100, 150), TRUNK)
    points = followed(squat, whole_reference(body_points(keypoints()[None])[0]))
    assert abs(person_size(points, body_points(keypoints()[None])[0], 15)[0] - 1) < 0.1


def test_knees_that_come_towards_the_viewer_part_and_the_thighs_lie_before_the_trunk():
    farther, nearer = np.full((2, 1, 17), 5.0, np.float32)
    for metres, by in ((farther, 0.4), (nearer, -0.4)):
        metres[:, [coco.LEFT_KNEE, coco.RIGHT_KNEE]] += by
    behind, before = (rendered(skeleton(squatting()), depth=metres)[0].astype(int) for metres in (farther, nearer))
    wide = lambda frame: np.ptp(np.flatnonzero((np.abs(frame[222:232] - LEG).max(axis=2) < 40).any(axis=0)))
    assert 10 < wide(before) - wide(behind) < 50
    assert is_colour(before, (127, 215), LEG, 60) and not is_colour(behind, (127, 215), LEG, 60)
    assert is_colour(before, (100, 240), WALL, 12) and is_colour(before, (72, 212), ARM)       # no seat below; the hand in front


def test_a_skirt_hangs_from_the_spine_also_where_the_knees_come_above_the_hips():
    reference = whole_reference(body_points(keypoints()[None])[0])
    crouched = keypoints(left_knee=(134, 140), right_knee=(96, 150))
    pose = posed(followed(skeleton(crouched), reference), skeleton(crouched), skeleton(keypoints()), None, skirt=True)
    drawn = pose.maps["skirt"][0, :, :2] @ (reference[KNEES, :2] - reference[PELVIS, :2])
    assert drawn[1] > 0.4 * 58 and abs(drawn[0]) < drawn[1]
    assert all((toward == 0).all() for toward in pose.toward.values())


def test_a_person_turned_round_is_mirrored_and_it_is_said_before():
    turned = keypoints()
    pairs = [(getattr(coco, name), getattr(coco, name.replace("LEFT", "RIGHT"))) for name in vars(coco)
             if name.startswith("LEFT") and isinstance(getattr(coco, name), int)]
    for left, right in pairs:
        turned[[left, right]] = turned[[right, left]]
    turned[:5] = 0
    frame = rendered(skeleton(keypoints(), turned))[1]
    doubts = lambda *frames: Puppet(PuppetConfig()).doubts(Scene(figure(), skeleton(keypoints()), skeleton(*frames), "", None))
    assert doubts(keypoints(), turned) == ["the puppet shows its front mirrored, hair for the face where the picture has some, for 0.1 s (from 0.1 s)"]
    assert doubts(keypoints()) == []
    nobody = np.zeros((133, 3), np.float32)
    assert doubts(keypoints(), *[nobody] * 4) == ["the puppet holds the nearest pose where the movement shows nobody, for 0.3 s (from 0.1 s)"]
    assert is_colour(frame, (72, 160), ARM) and is_colour(frame, (100, 130), TRUNK)


@pytest.mark.parametrize("hair", [(60, 30, 20), None])
def test_from_behind_hair_covers_the_face_where_the_picture_shows_some(hair):
    own, angles = keypoints(), np.linspace(0, 2 * np.pi, 68, endpoint=False)
    own[coco.FACE] = np.stack([100 + 9 * np.sin(angles), 52 - 11 * np.cos(angles), np.ones(68)], axis=1)
    own[coco.FACE.start + 17:coco.FACE.start + 27, :2] = [(92 + 2 * place, 45) for place in range(10)]     # the brows
    own[coco.FACE.start + 30, :2] = 100, 53                                                                # the nose
    front = np.zeros((60, 60, 4), np.uint8)                                                                # from (70, 20) on
    cv2.ellipse(front, (30, 30), (18, 22), 0, 0, 360, (*(hair or SKIN), 255), -1)
    cv2.ellipse(front, (30, 33), (10, 13), 0, 0, 360, (*SKIN, 255), -1)
    back = back_of_head(front, (70, 20), own, whole_reference(body_points(own[None])[0]), np.array(SKIN, float))
    if hair is None:
        assert back is None
    else:
        assert np.abs(back[22:42, 24:37, :3].astype(int) - hair).max() < 12 and np.array_equal(back[..., 3], front[..., 3])


def test_the_same_seed_gives_the_same_frames_and_another_only_other_grain():
    motion = skeleton(keypoints(), keypoints(**RAISED))
    first, again, other = (rendered(motion, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert psnr(first, other) > 35


def test_the_person_is_found_without_a_mask():
    image = figure()
    frame = rendered(skeleton(keypoints(**RAISED)), image, mask=None)[0]
    assert is_colour(frame, RAISED["right_wrist"], ARM) and is_colour(frame, (64, 132), WALL, 12)


def test_a_hand_hidden_in_a_pocket_stays_hidden_at_rest_and_comes_out_with_the_arm():
    image = figure()
    image[158:200, 55:92][np.abs(image[158:200, 55:92].astype(int) - ARM).max(axis=2) < 60] = LEG       # the sleeve's end is in it
    assert psnr(rendered(skeleton(keypoints()), image), image[None]) >= 40
    frame = rendered(skeleton(keypoints(**RAISED)), image)[0].astype(int)
    hand = frame[8:30, 12:36].reshape(-1, 3)
    assert (np.abs(hand - np.array(SKIN) * 0.9).max(axis=1) < 45).sum() > 20


def half_with_pockets(hand: tuple | None) -> tuple[np.ndarray, Skeleton]:
    """The figure down to its thighs, in wide trousers, with the right sleeve's end in a pocket, or a hand of a colour on it."""
    image, half = figure(), keypoints(left_knee=None, right_knee=None, left_ankle=None, right_ankle=None, left_big_toe=None, right_big_toe=None)
    trousers = np.zeros(SIZE, np.uint8)
    cv2.fillConvexPoly(trousers, np.array([(78, 158), (122, 158), (136, 210), (52, 210)], np.int32), 1)
    image[(trousers > 0) & (np.abs(image.astype(int) - TRUNK).max(axis=2) > 60)] = LEG
    cv2.line(image, JOINTS[coco.RIGHT_ELBOW], (70, 160), ARM, 13)
    if hand is not None:
        cv2.line(image, (71, 164), (75, 186), hand, 12)
    return np.ascontiguousarray(image[:210]), skeleton(half, size=(210, SIZE[1]))


@pytest.mark.parametrize("hand", [None, SKIN])
def test_of_half_a_body_a_pocket_is_no_hand_and_a_hand_is(hand):
    image, reference = half_with_pockets(hand)
    assert psnr(rendered(reference, image, reference, mask=mask_of), image[None]) >= 40
    raised = replace(reference, keypoints=reference.keypoints.copy())
    for name, place in RAISED.items():
        raised.keypoints[0, getattr(coco, name.upper()), :2] = np.add(place, (0, 20))
    frame = rendered(raised, image, reference)[0].astype(int)
    away = lambda box, colour: np.abs(frame[box].reshape(-1, 3) - np.array(colour)).max(axis=1)
    lifted, pocket = (slice(10, 48), slice(0, 60)), (slice(178, 196), slice(66, 84))
    assert (away(lifted, LEG) < 60).sum() < 150 and (away(lifted, np.array(SKIN) * 0.9) < 45).sum() > 60
    assert ((away(pocket, LEG) < 40).mean() > 0.8) == (hand is None)


def test_the_shadow_at_the_feet_goes_with_the_person():
    image = figure()
    y, x = np.mgrid[:SIZE[0], :SIZE[1]]
    for foot in (78, 122):
        away = ((x - foot) / 26) ** 2 + ((y - 298) / 10) ** 2
        shade = 1 - 0.4 * np.clip(1 - away, 0, 1)[..., None] * (mask_of(image)[..., None] < 0.5)
        image = (image * shade).astype(np.uint8)
    moved = keypoints()
    moved[:, 0] += 30 * (moved[:, 2] > 0)
    still, frame = rendered(skeleton(keypoints(), moved), image, mask=lambda *_: mask_of(figure()))
    assert psnr(still[None], image[None]) >= 40
    brightness = lambda picture, place: float(colour_at(picture, *place).mean())
    assert brightness(image, (60, 300)) < 180 and brightness(frame, (60, 300)) > 187
    assert brightness(frame, (165, 300)) < 187 < brightness(image, (165, 300))


@pytest.mark.parametrize("size", [(321, 199), (203, 127)])
def test_any_canvas_will_do(size):
    image = cv2.resize(figure(), size[::-1], interpolation=cv2.INTER_AREA)
    scale = np.array([size[1] / SIZE[1], size[0] / SIZE[0], 1], np.float32)
    reference = skeleton(keypoints() * scale, size=size)
    frames = rendered(skeleton(keypoints() * scale, keypoints(**RAISED) * scale, size=size), image, reference)
    assert frames.shape == (2, *size, 3) and frames.dtype == np.uint8
    assert psnr(frames[:1], image[None]) >= 40
    assert is_colour(frames[1], (30 * scale[0], 29 * scale[1]), ARM, 40)


def test_a_person_at_the_border_and_a_limb_that_leaves_are_drawn_as_far_as_they_show():
    moved = keypoints()
    moved[:, 0] -= 150 * (moved[:, 2] > 0)
    frame = rendered(skeleton(keypoints(right_elbow=(20, 70), right_wrist=(-20, 60)), moved))
    assert is_colour(frame[0], (10, 67), ARM, 45)
    assert (np.abs(frame[1].astype(int) - WALL).max(axis=2) < 14).mean() > 0.93


@pytest.mark.parametrize("change, message", [
    (dict(mask=lambda image, _: np.zeros(image.shape[:2], np.float32)), "puppet: expected a person in the picture's mask"),
    (dict(reference=skeleton(np.zeros((133, 3), np.float32))), "reference: expected both shoulders or both hips"),
    (dict(motion=skeleton(np.zeros((133, 3), np.float32))), "skeleton: expected shoulders or hips in at least one frame"),
    (dict(motion=skeleton(keypoints(), size=(100, 100))), "skeleton: expected the picture's canvas, 200x320"),
    (dict(depth=np.zeros((3, 17), np.float32)), r"depth: expected \(1, 17\) metres"),
])
def test_what_cannot_be_drawn_is_refused_in_one_line(change, message):
    with pytest.raises(ValueError, match=message) as refused:
        rendered(**{"motion": skeleton(keypoints()), **change})
    assert "\n" not in str(refused.value)


def test_frames_that_memory_cannot_hold_are_refused_before_anything_is_made():
    Puppet.check(PuppetConfig(), (1024, 576), 90, 2 * 2**30)
    with pytest.raises(ValueError, match="puppet: 9000 frames of 576x1024"):
        Puppet.check(PuppetConfig(), (1024, 576), 9000, 2 * 2**30)


def test_a_hole_in_a_wall_above_a_floor_is_filled_with_wall_and_floor():
    room = np.empty((200, 160, 3), np.uint8)
    room[:150], room[150:] = WALL, (90, 80, 70)
    hole = np.zeros((200, 160), bool)
    hole[40:180, 60:110] = True
    broken = np.where(hole[..., None], 255, room).astype(np.uint8)
    fill = filled(broken, hole, np.random.default_rng(0))
    assert np.array_equal(fill[~hole], room[~hole])
    assert np.abs(fill.astype(int) - room)[hole].max() <= 12


def test_frames_are_shown_as_they_are_made():
    seen = []
    scene = Scene(figure(), skeleton(keypoints()), skeleton(keypoints(), keypoints(**RAISED)), "", None)
    frames = Puppet.load(PuppetConfig(), mask=mask_of)(scene, torch.Generator(), show=lambda frames: seen.extend(frames.copy()), progress=False)
    assert np.array_equal(np.stack(seen), frames)


@pytest.mark.parametrize("pose, words", [
    (dict(left_knee=(114, 190), right_knee=(86, 190), left_ankle=(114, 240), right_ankle=(86, 240)), "they sit"),
    (dict(left_shoulder=(104, 90), right_shoulder=(96, 90)), "from the side"),
    (dict(left_wrist=(82, 130), right_wrist=(112, 124)), "an arm lies across"),
    (dict(left_hip=None, right_hip=None), "only head and shoulders"), (dict(nose=None, right_shoulder=None), "cuts them in half")])
def test_a_picture_that_hides_limbs_is_refused_with_what_to_take_instead(pose, words):
    with pytest.raises(ValueError, match=f"puppet: .*{words}.*: take one"):
        rendered(skeleton(keypoints()), reference=skeleton(keypoints(**pose)))
    rendered(skeleton(keypoints(left_wrist=(103, 160), right_wrist=(97, 160))), reference=skeleton(keypoints(left_wrist=(103, 160), right_wrist=(97, 160))))


def test_an_arm_that_the_picture_cuts_off_is_raised_to_the_side_and_not_above():
    def raised_arms(reference):
        points = followed(skeleton(keypoints(**RAISED)), whole_reference(body_points(reference.keypoints)[0]))
        return posed(points, skeleton(keypoints(**RAISED)), reference, None).points[0]

    raised = raised_arms(skeleton(keypoints(right_wrist=None)))
    shoulder, long = np.array(JOINTS[coco.RIGHT_SHOULDER]), np.hypot(30, 28)
    assert shoulder[1] - 0.11 * long < raised[coco.RIGHT_ELBOW, 1] < shoulder[1]
    assert np.linalg.norm(raised[coco.RIGHT_ELBOW] - shoulder) == pytest.approx(long, rel=0.01) and raised[coco.RIGHT_ELBOW, 0] < 40
    assert np.allclose(raised_arms(skeleton(keypoints()))[coco.RIGHT_ELBOW], RAISED["right_elbow"])


def test_a_face_turns_over_the_head_whose_outline_stays():
    eyes = {"nose": (104, 52), "left_eye": (110, 46), "right_eye": (98, 46)}              # the ears stay where they are
    picture = figure()
    cv2.circle(picture, JOINTS[coco.NOSE], 2, (0, 0, 0), -1)
    ahead, aside = rendered(skeleton(*[keypoints()] * 9, *[keypoints(**eyes)] * 9), picture)[[2, 15]].astype(int)
    dark = lambda frame: np.argwhere(frame[40:64, 80:120].sum(-1) < 300).mean(axis=0)
    assert dark(aside)[1] - dark(ahead)[1] == pytest.approx(4, abs=0.7) and dark(aside)[0] == pytest.approx(dark(ahead)[0], abs=0.5)
    outside = np.ones(SIZE, bool)
    outside[30:72, 86:115] = False
    assert np.abs(aside - ahead)[outside].max() < 15                                           # the head itself moves by a quarter of a pixel


def test_a_face_is_its_own_at_the_beginning_however_long_it_looks_down_later():
    down = {"nose": (104, 62), "left_eye": (110, 56), "right_eye": (98, 56)}
    frames = skeleton(*[keypoints()] * 9, *[keypoints(**down)] * 40)
    points = followed(frames, whole_reference(body_points(keypoints()[None])[0]))
    shift = posed(points, frames, skeleton(keypoints()), None).face_shift
    assert np.abs(shift[:5]).max() < 0.3 and shift[-1, 1] > 1


def test_a_face_that_is_unseen_or_turned_far_is_not_bent_out_of_shape():
    def shift(frame):
        points = followed(skeleton(frame), whole_reference(body_points(keypoints()[None])[0]))
        pose = posed(points, skeleton(frame), skeleton(keypoints()), None)
        return np.abs(pose.face_shift[0]) / pose.face[1]

    assert shift(keypoints(nose=None, left_eye=None, right_eye=None)).max() == 0
    far = shift(keypoints(nose=(118, 70), left_eye=(122, 64), right_eye=(112, 64)))
    assert 0.2 < far[0] < 0.29 and far[1] < 0.08


def test_an_unseen_wrist_goes_on_from_its_upper_arm_as_in_the_picture():
    raised = keypoints(left_elbow=(164, 90), left_wrist=None)
    reference = whole_reference(body_points(keypoints()[None])[0])
    place = followed(skeleton(raised), reference)[0, coco.LEFT_WRIST]
    assert place[0] > 164 + 30 and np.linalg.norm(place - (164, 90)) == pytest.approx(np.linalg.norm(np.subtract((154, 166), (144, 128))), rel=0.01)


def test_half_a_body_of_which_the_edge_cuts_a_hand_and_a_hip_comes_back_whole():
    image, half = figure()[:160], keypoints(right_wrist=None, right_hip=None, left_knee=None, right_knee=None, left_ankle=None, right_ankle=None)
    half[coco.LEFT_HIP] = (122, 158, 1)
    half[half[:, 1] >= 160] = 0
    reference = skeleton(half, size=image.shape[:2])
    frame = rendered(reference, image, reference)[0]
    assert np.abs(frame.astype(int) - image).mean() < 0.5 and np.abs(frame.astype(int) - image).max() < 40


def bowed(**moved) -> Skeleton:
    """Two frames: the figure, and the figure with its neck, shoulders and head at the height of the belly."""
    upper = {"left_shoulder": (124, 150), "right_shoulder": (76, 150), "nose": (100, 172), "left_eye": (106, 168), "right_eye": (94, 168),
             "left_ear": (113, 165), "right_ear": (87, 165)}
    return skeleton(*[keypoints()] * 10, *[keypoints(**upper | moved)] * 20)


def test_a_bow_leaves_the_head_above_the_chest_and_is_told():
    reference = whole_reference(body_points(keypoints()[None])[0])
    points = followed(bowed(), reference)
    assert np.allclose(points[0, coco.BODY], reference[coco.BODY, :2], atol=0.5)
    spine, neck = (np.linalg.norm(points[-1, a] - points[-1, b]) for a, b in ((NECK, PELVIS), (HEAD, NECK)))
    assert spine > 0.6 * np.linalg.norm(reference[NECK, :2] - reference[PELVIS, :2]) and points[-1, HEAD, 1] < points[-1, NECK, 1] - 5
    doubts = Puppet(PuppetConfig()).doubts(Scene(figure(), skeleton(keypoints()), bowed(), "", None))
    assert len(doubts) == 1 and "bends forward" in doubts[0] and "(from 0.7 s)" in doubts[0]
    assert not Puppet(PuppetConfig()).doubts(Scene(figure(), skeleton(keypoints()), skeleton(*[keypoints(**RAISED)] * 30), "", None))


def test_who_bends_with_the_back_to_the_viewer_is_still_seen_from_behind():
    reference = whole_reference(body_points(keypoints()[None])[0])
    swapped = {f"{a}_{joint}": JOINTS[getattr(coco, f"{b}_{joint}".upper())] for joint in ("hip", "knee", "ankle") for a, b in (("left", "right"), ("right", "left"))}
    away = bowed(left_shoulder=(76, 175), right_shoulder=(124, 175), **swapped)           # the face shows, between the legs
    pose = posed(followed(away, reference), away, skeleton(keypoints()), None)
    assert pose.behind[-1] and pose.mirrored[-1] and not pose.behind[0]


def test_a_glow_about_the_outline_goes_with_the_person_and_leaves_no_ghost():
    size = (3 * SIZE[0], 3 * SIZE[1])
    image = cv2.resize(figure(), size[::-1], interpolation=cv2.INTER_CUBIC)
    person = mask_of(image)
    glow = cv2.GaussianBlur(cv2.dilate(person, np.ones((7, 7), np.uint8)), (0, 0), 1.5) * (1 - person)
    image = (image - 12 * glow[..., None]).round().astype(np.uint8)
    here, moved = (keypoints() * (3, 3, 1) + (aside, 0, 0) * (keypoints()[:, 2:] > 0) for aside in (0, 180))
    frames = rendered(skeleton(here, moved, size=size), image, skeleton(here, size=size))
    left = slice(300, 480), slice(135, 215)                                             # at the right arm, where nobody is any more
    assert np.abs(frames[0].astype(int) - image).mean() < 0.1
    ghost = np.abs(cv2.blur(frames[1][left].astype(np.float32), (3, 3)) - WALL).max(axis=2)
    assert ghost.mean() < 1 and np.percentile(ghost, 99) < 9


@pytest.mark.parametrize("moved, ends", [
    (dict(left_knee=(170, 172), right_knee=(144, 172), left_ankle=(170, 230), right_ankle=(144, 230)), True),       # sits, seen from the side
    (dict(left_knee=(160, 206), right_knee=(40, 206), left_ankle=(190, 250), right_ankle=(10, 250)), False)])     # legs wide apart
def test_of_who_sits_sideways_neither_seat_nor_thigh_sticks_out_below_the_hip(moved, ends):
    reference = whole_reference(body_points(keypoints()[None])[0])
    motion = skeleton(keypoints(), keypoints(**moved))
    pose = posed(followed(motion, reference), motion, skeleton(keypoints()), None)
    layers = {layer.piece: layer for layer in cut_layers(figure(), keypoints(), reference, mask_of(figure()), np.random.default_rng(0)).layers}
    cover = lambda piece, index, x, y: at_bends(layers[piece], np.full((*SIZE, 4), 255, np.uint8), pose, reference, index, (0, 0, *SIZE[::-1]))[y, x, 3]
    pelvis, hip = ((int(value) for value in pose.points[1, point]) for point in (PELVIS, coco.LEFT_HIP))
    (x, y), (hip_x, hip_y), half = pelvis, hip, layers["left leg upper"].joints[0].radius
    assert cover("chest", 1, x, y + 8) == 255 and cover("chest", 1, x, y + 20) == (0 if ends else 255)
    assert cover("left leg upper", 1, hip_x + 5, hip_y + int(0.8 * half)) == 255
    assert (cover("left leg upper", 1, hip_x + 5, hip_y + int(2.2 * half)) == 0) >= ends
    assert cover("chest", 0, x, y + 20) == cover("left leg upper", 0, hip_x + 25, hip_y) == 255                     # as in the picture


def test_half_a_body_that_sits_sideways_keeps_its_hips():
    image, reference = half_with_pockets(SKIN)
    sits = keypoints(left_knee=(170, 172), right_knee=(144, 172), left_ankle=(170, 230), right_ankle=(144, 230))
    frame = rendered(skeleton(sits, size=reference.size), image, reference)[0]
    assert is_colour(image, (100, 195), LEG) and is_colour(frame, (100, 195), LEG)


def test_a_knee_that_is_bent_more_than_in_the_picture_is_round():
    reference = whole_reference(body_points(keypoints()[None])[0])
    motion = skeleton(keypoints(), keypoints(left_knee=(160, 190), left_ankle=(110, 215)))
    pose = posed(followed(motion, reference), motion, skeleton(keypoints()), None)
    layers = {layer.piece: layer for layer in cut_layers(figure(), keypoints(), reference, mask_of(figure()), np.random.default_rng(0)).layers}
    for piece in ("left leg upper", "left leg lower"):
        full, half = np.full((*SIZE, 4), 255, np.uint8), layers[piece].joints[0].radius
        now, before = (at_bends(layers[piece], full, pose, reference, index, (0, 0, *SIZE[::-1]))[..., 3] for index in (1, 0))
        assert now[190, 160] == now[190, 160 + int(0.5 * half)] == 255 and now[190, 160 + int(1.4 * half)] == 0
        assert (before == 255).all()


def test_trousers_whose_thighs_touch_show_no_hole_at_the_crotch_of_a_wide_stance():
    image = figure()
    cv2.fillConvexPoly(image, np.array([(86, 168), (114, 168), (108, 226), (100, 214), (92, 226)], np.int32), LEG)
    cv2.rectangle(image, (86, 178), (114, 205), LEG, -1)
    wide = keypoints(left_knee=(142, 220), left_ankle=(166, 274), right_knee=(58, 220), right_ankle=(34, 274))
    frames = rendered(skeleton(keypoints(), wide), image)
    assert np.abs(frames[0].astype(int) - image).mean() < 0.5
    for y in (182, 188):
        assert (np.abs(frames[1][y, 78:122].astype(int) - WALL).max(axis=1) > 40).all(), y


@pytest.fixture
def guided(tiny_svd_folder, tiny_checkpoint, tmp_path):
    """The renderer `mimicmotion` with weights that are told how the picture looks moved, and heed it."""
    model = PoseToVideo.load(tiny_svd_folder, tiny_checkpoint)
    unet = model.unet.with_moved_picture()
    settings = VideoModelConfig(str(tiny_svd_folder), str(save_checkpoint(tmp_path / "guided", unet, model.pose_net)),
                                num_inference_steps=1, guidance_scale=1.0, tile_size=4, tile_overlap=1)
    return MimicMotion.load(MimicMotionConfig(settings, None, "mimicmotion"), "cpu")


def test_weights_that_take_the_moved_picture_get_the_puppets(guided, monkeypatch):
    clip = sample_clip(1_000_008, "wave", num_frames=3, size=(128, 64))
    scene = Scene(clip.reference, clip.reference_skeleton, clip.skeleton, "", None)
    given, moved_latents = [], PoseToVideo.moved_latents
    monkeypatch.setattr(PoseToVideo, "moved_latents", lambda model, image, moved, tiny_vae: given.append(moved) or moved_latents(model, image, moved, tiny_vae))
    video = guided(scene, torch.Generator().manual_seed(4), progress=False)
    puppet = Puppet(PuppetConfig(mask="colour"))(scene, torch.Generator().manual_seed(4), progress=False)
    assert np.array_equal(given[0], [clip.reference, *puppet]) and video.shape == puppet.shape
    monkeypatch.setattr(renderers.mimicmotion, "Puppet", lambda settings: lambda scene, generator, progress: 255 - puppet)
    assert not np.array_equal(guided(scene, torch.Generator().manual_seed(4), progress=False), video)


def test_a_resumed_run_knows_that_the_moved_picture_follows_the_depth(guided):
    clip = sample_clip(1_000_008, "wave", num_frames=3, size=(128, 64))
    flat, deep = (Scene(clip.reference, clip.reference_skeleton, clip.skeleton, "", depth) for depth in (None, np.ones((3, 17))))
    assert len(guided.inputs(deep)) == len(guided.inputs(flat)) and any(found is deep.depth for found in guided.inputs(deep))
