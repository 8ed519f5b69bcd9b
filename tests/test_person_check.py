"""Which pictures are refused for what they lack of the person, by the demo's own detector where it matters."""

from pathlib import Path

import pytest

from dwpose.detector import PoseDetector
from dwpose.skeleton import FEET, LEFT_ANKLE, LEFT_KNEE, LEFT_WRIST, NOSE, RIGHT_ANKLE, RIGHT_KNEE, Skeleton
from media.images import fit_to_canvas, read_image
from run.checks import check_whole_person

ROOT = Path(__file__).resolve().parents[1]
SIZE = (320, 192)


@pytest.fixture(scope="module")
def seen():
    """The person of assets/person.png in a canvas, by the demo's networks; `cut` = the share of the picture above the cut."""
    detector = PoseDetector.load(*(ROOT / "weights" / "demo" / "dwpose" / f"{name}.onnx" for name in ("detector", "pose")), num_threads=1)
    picture = read_image(ROOT / "assets" / "person.png")

    def seen(cut: float = 1.0) -> Skeleton:
        height, width = round(cut * len(picture)), round(cut * picture.shape[1])
        left = (picture.shape[1] - width) // 2
        return detector.detect(fit_to_canvas(picture[:height, left:left + width], SIZE)[None], 10.0)

    return seen


def test_a_whole_person_passes_silently(seen, caplog):
    check_whole_person(seen(), "me.png", False)
    assert not caplog.records


@pytest.mark.parametrize("joint", [LEFT_KNEE, LEFT_WRIST])
def test_feet_the_network_made_up_are_not_believed(seen, joint, caplog):
    half = seen(seen().xy[0, joint, 1] / SIZE[0])
    assert (half.confidence[0, [LEFT_ANKLE, RIGHT_ANKLE]] > 0.5).any()                       # the network is sure of them
    with pytest.raises(ValueError, match=r"^me.png: the person is cut off \(feet not in the 320x192 canvas\)"):
        check_whole_person(half, "me.png", False)
    check_whole_person(half, "me.png", True)
    assert "me.png: feet not seen" in caplog.text


def test_somebody_crouching_in_the_middle_of_the_picture_is_not_cut_off(seen):
    crouching = seen().keypoints.copy()                                                      # (1, 133, 3)
    below = [LEFT_KNEE, RIGHT_KNEE, LEFT_ANKLE, RIGHT_ANKLE, *range(FEET.start, FEET.stop)]
    crouching[:, below, 1] -= 60
    check_whole_person(Skeleton(crouching, SIZE, 10.0), "me.png", False)


def test_a_small_person_and_a_missing_hand_are_warnings(seen, caplog):
    small = seen().keypoints.copy()
    small[..., :2] = small[..., :2] * 0.5 + 40
    check_whole_person(Skeleton(small, SIZE, 10.0), "me.png", False)
    assert "me.png: the person is small" in caplog.text and "crop" in caplog.text
    handless = seen().keypoints.copy()
    handless[:, LEFT_WRIST, 2] = 0
    check_whole_person(Skeleton(handless, SIZE, 10.0), "me.png", False)
    assert "left hand not seen" in caplog.text


def test_a_person_without_a_head_is_refused(seen):
    keypoints = seen().keypoints.copy()
    keypoints[:, NOSE:NOSE + 3, 1] -= 200
    with pytest.raises(ValueError, match="head not in"):
        check_whole_person(Skeleton(keypoints, SIZE, 10.0), "me.png", False)
