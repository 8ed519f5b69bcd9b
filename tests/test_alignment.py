"""MimicMotion's global alignment: the published numbers, and where we leave them."""
from pathlib import Path

import numpy as np
import pytest

from dwpose.alignment import fit, linearly_aligned, MIMICMOTION_POINTS
from dwpose.skeleton import LEFT_SHOULDER, openpose18, OPENPOSE_FROM_COCO, RIGHT_SHOULDER, Skeleton

GOLDEN = Path(__file__).parent / "fixtures/pose/alignment.npz"
POINTS = {"mimicmotion": MIMICMOTION_POINTS, "fleximo": (0, 1, 2, 5, 8, 11, 14, 15, 16, 17)}      # knees and ankles left out


def golden_pair(case):
    """The stored driver and reference as skeletons, every point confident."""
    arrays = np.load(GOLDEN)
    ref_height, ref_width, height, width = arrays[f"{case}/sizes_ref_h_w_driver_h_w"].tolist()
    return [as_skeleton(arrays[f"{case}/{name}"].reshape(-1, 18, 2), size)
            for name, size in (("driver_candidate", (height, width)), ("ref_candidate", (ref_height, ref_width)))]


def as_skeleton(body, size):
    """(F, 18, 2) canvas shares in OpenPose order, the neck left to be derived from the shoulders."""
    keypoints = np.zeros((len(body), 133, 3), np.float32)
    for place, joint in zip(np.moveaxis(body * size[::-1], 1, 0), OPENPOSE_FROM_COCO):
        if joint is not None:
            keypoints[:, joint, :2], keypoints[:, joint, 2] = place, 1
    return Skeleton(keypoints, size, 24)


@pytest.mark.parametrize("case", ["portrait", "landscape_ref", "still", "bouncing", "upside_down"])
@pytest.mark.parametrize("system", POINTS)
def test_the_published_fit_is_reproduced(case, system):
    golden = np.load(GOLDEN)
    points = golden[f"{case}/{system}/ref_keypoint_id"]
    assert set(points) <= set(POINTS[system])
    ref_height, ref_width, height, width = golden[f"{case}/sizes_ref_h_w_driver_h_w"]
    driver, reference = golden[f"{case}/driver_candidate"], golden[f"{case}/ref_candidate"]
    found = fit(driver[:, points], reference[points], (height / width) / (ref_height / ref_width))
    wanted = [golden[f"{case}/{system}/{name}"] for name in ("ax", "ay", "bx", "by")]
    ours = [found.scale_x, found.scale_y, found.shift_x, found.shift_y]
    np.testing.assert_allclose(ours, wanted, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found(driver), golden[f"{case}/{system}/out_candidate"], atol=1e-9)


def test_a_bouncing_driver_is_not_drawn_smaller():
    """Published: the same person is drawn at 0.975 when still and at 0.811 when bouncing."""
    heights = []
    for case in ("still", "bouncing"):
        driver, reference = golden_pair(case)
        body = openpose18(linearly_aligned(driver, reference).keypoints)[0]
        heights.append(np.ptp(body[:, 1]))
    assert heights[1] == pytest.approx(heights[0], rel=1e-3)
    driver, reference = golden_pair("bouncing")
    published = openpose18(linearly_aligned(driver, reference, robust=False).keypoints)[0]
    assert np.ptp(published[:, 1]) < 0.9 * heights[0]


def test_a_person_aligned_to_themselves_does_not_move():
    _, reference = golden_pair("portrait")
    for robust in (True, False):
        after = linearly_aligned(reference, reference, robust=robust)
        np.testing.assert_allclose(after.keypoints, reference.keypoints, atol=1e-2)


def test_guesses_of_the_driver_do_not_count():
    driver, reference = golden_pair("still")
    wild = driver.keypoints.copy()
    wild[:, LEFT_SHOULDER, :2] += 500
    wild[:, LEFT_SHOULDER, 2] = 0.1
    without = driver.keypoints.copy()
    without[:, LEFT_SHOULDER, 2] = 0
    a, b = (linearly_aligned(Skeleton(k, driver.size, 24), reference).keypoints[:, RIGHT_SHOULDER] for k in (wild, without))
    np.testing.assert_allclose(a, b, atol=1e-3)


def test_frames_without_the_driver_leave_the_published_fit_as_it_is():
    """An unseen point lies at (0, 0): counted, it would tilt the line."""
    driver, reference = golden_pair("still")
    keypoints = np.concatenate([driver.keypoints, np.zeros_like(driver.keypoints[:3])])
    keypoints[0, LEFT_SHOULDER, 2] = 0.1                                      # low confidence counts, as published
    with_gap = linearly_aligned(Skeleton(keypoints, driver.size, 24), reference, robust=False)
    whole = linearly_aligned(driver, reference, robust=False)
    np.testing.assert_allclose(with_gap.xy[1:-3], whole.xy[1:], atol=1e-3)
    assert not with_gap.keypoints[-3:].any()


def test_what_cannot_be_aligned_is_refused():
    driver, reference = golden_pair("still")
    hidden = reference.keypoints.copy()
    hidden[..., 1:, 2] = 0
    with pytest.raises(ValueError, match="reference: expected at least 2 .*found 1"):
        linearly_aligned(driver, Skeleton(hidden, reference.size, 1))
    for robust in (True, False):
        with pytest.raises(ValueError, match="driving clip: expected a person"):
            linearly_aligned(Skeleton(np.zeros_like(driver.keypoints), driver.size, 24), reference, robust=robust)
    turned, reference = golden_pair("upside_down")
    with pytest.raises(ValueError, match="upside down"):
        linearly_aligned(turned, reference)
