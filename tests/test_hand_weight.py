"""What the comparison of hand weights stands on: where the hands are, what is measured there, and a paired difference."""
import numpy as np
import pytest

from dwpose.skeleton import HANDS, RIGHT_HAND, Skeleton
from benchmarks.hand_weight import compared, hand_psnr
from synthetic.clips import CachedClips


def test_a_cache_says_where_the_drawn_hands_are(clip_cache):                 # noqa: F811
    clips = CachedClips(clip_cache, 1, seed=2)
    for position in range(12):
        item = clips[(0, position)]
        clip, frame = np.argwhere([[np.array_equal(latents.astype(np.float32), item["latents"][0].numpy())
                                    for latents in one] for one in clips.latents])[0]
        assert item["hands"].shape == (1, 2, 5) and item["head"].shape == (1, 1, 5)
        for (left, top, right, bottom, confidence), hand in zip(item["hands"][0].numpy(), (slice(91, 112), RIGHT_HAND)):
            points = clips.keypoints[clip, frame, hand]
            middle = points[points[:, 2] >= 0.3, :2].mean(axis=0)
            assert confidence == 0 or (left < middle[0] < right and top < middle[1] < bottom)


def test_hand_psnr_sees_hands_alone():
    keypoints = np.zeros((2, 133, 3), np.float32)
    truth = np.full((2, 40, 40, 3), 100, np.uint8)
    assert np.isnan(hand_psnr(truth, truth, Skeleton(keypoints, (40, 40), 10)))
    keypoints[0, HANDS] = (20, 20, 0.9)
    keypoints[0, HANDS.start] = (30, 30, 0.9)
    skeleton, elsewhere, here = Skeleton(keypoints, (40, 40), 10), truth.copy(), truth.copy()
    elsewhere[0, :15], elsewhere[1] = 255, 255
    here[0, 18:32, 18:32] += 10
    assert hand_psnr(elsewhere, truth, skeleton) > 100
    assert hand_psnr(here, truth, skeleton) == pytest.approx(20 * np.log10(25.5), abs=0.1)


def test_the_gain_is_taken_clip_by_clip():
    easy_and_hard = np.linspace(0.1, 0.9, 20)
    found = {name: [{"hand_pck": value + gain} for value in easy_and_hard]
             for name, gain in (("before", 0.0), ("weight_1", 0.01), ("weight_10", 0.03))}
    found["weight_10"][0]["hand_pck"] += 0.02
    result = compared(found)
    mean, low, high = result["gain"]["hand_pck"]
    assert mean == pytest.approx(0.021) and 0.018 < low < mean < high < 0.026 and result["before"]["hand_pck"] == 0.5
