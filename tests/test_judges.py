"""The three judges: what the pose judge recognises, and how the others behave with a tiny model and a local server."""
import base64
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import degrade
from chat_server import ChatServer, completion
from dwpose import skeleton as coco
from dwpose.detector import PoseDetector
from dwpose.skeleton import Skeleton
from benchmarks.motion_score import shown, truth
from motionbench.cells import MOTIONS, MOTIONS_BY_NAME, person, true_clip
from motionbench.judges import ClipJudge, frame_pixels, motion_score, Verdict, VlmJudge
from motionbench.judge_pose import in_order, PLACES, PoseJudge, track, warped_distances
from motionbench.metrics import ClipCase, nobody

SIZE, FPS = (320, 192), 7.0
DEMO = Path(__file__).resolve().parent.parent / "weights" / "demo"
TOKENIZER, DWPOSE = DEMO / "t2m" / "tokenizer", DEMO / "dwpose"
SEED = 905                      # people of no published clip, and none that a threshold was set on
SPOILT = ("frozen", "reversed, with a direction", "shuffled", "sided, mirrored", "opposite side", "other motion")


@pytest.fixture(scope="module")
def judge() -> PoseJudge:
    return PoseJudge.of_motions(MOTIONS)


@pytest.fixture(scope="module")
def truths() -> list[tuple[str, Skeleton]]:
    """A person in every motion, as a perfect detector would see the true videos."""
    return [(motion.name, truth(person(3, SEED), motion)) for motion in MOTIONS]


def case_of(motion: str, seen: Skeleton, followed: Skeleton | None = None) -> ClipCase:
    return ClipCase(f"00__{motion}", "00", motion, FPS, np.zeros((len(seen), *seen.size, 3), np.uint8), seen=seen, followed=followed)


def score(judge: PoseJudge, pairs) -> float:
    metric = motion_score(judge)
    return float(np.mean([metric.of(case_of(motion, *seen)).value for motion, *seen in pairs]))


# ---------------------------------------------------------------- pose

def test_the_pose_judge_recognises_the_truth(judge, truths):
    """Another person, other samples, another camera than those it knows."""
    assert score(judge, truths) >= 0.95


def test_what_does_not_move_as_commanded_scores_nothing(judge):
    """Every bound of the table, on the motions in turn: still, backwards, in any order, by the other side, another."""
    who, rng, found = person(4, SEED), np.random.default_rng(0), {}
    for motion in MOTIONS[::2] + MOTIONS[-3:]:
        own = truth(who, motion)
        for condition, seen in shown(who, motion, rng):
            if condition in SPOILT:
                found.setdefault(condition, []).append((motion.name, seen, own))
    shares = {condition: score(judge, pairs) for condition, pairs in found.items()}
    assert set(shares) == set(SPOILT)
    assert max(shares.values()) <= 0.1, shares
    shuffled = [(motion, seen) for motion, seen, _ in found["shuffled"]]
    assert score(judge, shuffled) <= 0.1                        # also where nobody was given the motion


def test_a_still_person_scores_nothing_whatever_is_asked(judge, truths):
    still = truths[0][1][np.zeros(14, int)]
    assert score(judge, [(motion.name, still) for motion in MOTIONS]) == 0


def test_a_person_seen_from_behind_is_unknown_and_not_wrong(judge):
    result = motion_score(judge).of(case_of("squat", truth(person(3, SEED), MOTIONS_BY_NAME["squat"], yaw=np.pi)))
    assert np.isnan(result.value) and "from behind" in result.note and result.label == ""


def test_a_motion_that_nobody_makes_is_none_of_the_known_ones(judge, truths):
    upside_down = truths[10][1].with_xy(np.abs(truths[10][1].xy - (0, SIZE[0])))
    assert motion_score(judge).of(case_of("squat", upside_down)).label == "none of these"


def test_place_size_and_tempo_do_not_matter(judge, truths):
    changed = []
    for motion, skeleton in truths:
        keypoints = skeleton.keypoints * (0.6, 0.6, 1) + (25, 40, 0)                       # smaller, elsewhere, twice as slow
        changed.append((motion, Skeleton(keypoints, SIZE, FPS / 2)))
    assert score(judge, changed) >= 0.9


def test_noise_takes_the_score_away_little_by_little(judge, truths):
    rng = np.random.default_rng(0)
    scores = [score(judge, [(motion, degrade.shaken(skeleton, torsos, rng)) for motion, skeleton in truths[::2]])
              for torsos in (0.05, 0.3, 1.0)]
    assert scores[0] >= 0.9 and scores[0] >= scores[1] >= scores[2] == 0, scores


def test_overlooked_joints_do_not_mislead(judge, truths):
    """One point in seven missing, and two frames in which nobody is found."""
    rng = np.random.default_rng(1)
    pairs = [(motion, degrade.hidden(skeleton, 0.15, rng)) for motion, skeleton in truths]
    for _, skeleton in pairs:
        skeleton.keypoints[4:6] = 0
    assert score(judge, pairs) >= 0.75


def test_the_pose_judge_recognises_what_the_demos_detector_sees(judge):
    """Of the motions whose limbs the detector misreads most."""
    detector, pairs = PoseDetector.load(DWPOSE / "detector.onnx", DWPOSE / "pose.onnx", num_threads=1), []
    for motion in (MOTIONS_BY_NAME[name] for name in ("kick_left", "punch_right", "march")):
        clip = true_clip(person(5, SEED), motion, 2.0, 7.0, SIZE)
        pairs.append((motion.name, detector.detect(clip.frames, 7.0), clip.skeleton))
    assert score(judge, pairs) >= 2 / 3


def test_nobody_and_half_a_hand_are_no_motion(judge):
    metric = motion_score(judge)
    empty = metric.of(case_of("squat", nobody(20, SIZE, FPS)))
    assert empty.value == 0 and empty.note == "nobody recognised"
    keypoints = np.zeros((20, 133, 3))
    keypoints[:, [coco.LEFT_WRIST, coco.LEFT_ELBOW]] = (50, 50, 1)
    little = metric.of(case_of("squat", Skeleton(keypoints, SIZE, FPS)))
    assert little.value == 0 and little.note.startswith("too little") and little.label == ""


def test_frames_in_another_order_show_a_movement_worse_and_a_still_person_no_worse(judge, truths):
    tracks, seen = judge.tracks[judge.owners == "squat"][::3], dict(truths)["squat"]
    assert in_order(seen, tracks) and in_order(degrade.shaken(seen, 0.05, np.random.default_rng(0)), tracks)
    assert not in_order(seen[np.zeros(len(seen), int)], tracks)
    orders = [np.random.default_rng(seed).permutation(len(seen)) for seed in range(1, 9)]
    assert sum(in_order(seen[order], tracks) for order in orders) <= 2


def test_the_warped_distance_is_that_of_the_textbook_recursion():
    costs = np.random.default_rng(0).random((3, 6, 9))
    for matrix, found in zip(costs, warped_distances(costs)):
        total = np.full((7, 10), np.inf)
        total[0, 0] = 0
        for i in range(1, 7):
            for j in range(1, 10):
                here = matrix[i - 1, j - 1]
                total[i, j] = min(total[i - 1, j] + here, total[i, j - 1] + here, total[i - 1, j - 1] + 2 * here)
        assert found == pytest.approx(total[6, 9] / 15)


def test_a_slower_copy_is_at_no_distance(truths):
    """The same path walked unevenly: warping takes it back."""
    values = track(truths[0][1]).values[:, :PLACES]
    slow = values[np.repeat(np.arange(len(values)), 2)]
    costs = ((values[:, None] - slow[None]) ** 2).sum(axis=-1)
    assert warped_distances(costs[None])[0] == pytest.approx(0, abs=1e-12)


# ---------------------------------------------------------------- clip

@pytest.fixture(scope="module")
def xclip_folder(tmp_path_factory) -> Path:
    """X-CLIP with random weights, and the tokenizer of the demo's text encoder."""
    from transformers import AutoTokenizer, XCLIPConfig, XCLIPModel
    torch.manual_seed(0)
    folder, tokenizer = tmp_path_factory.mktemp("xclip"), AutoTokenizer.from_pretrained(TOKENIZER, local_files_only=True)
    small = dict(hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2)
    config = XCLIPConfig(text_config=small | dict(vocab_size=len(tokenizer), eos_token_id=tokenizer.eos_token_id),
                         vision_config=small | dict(image_size=32, patch_size=16, num_frames=4, mit_hidden_size=16,
                                                    mit_intermediate_size=32, mit_num_attention_heads=2),
                         projection_dim=16, prompt_num_attention_heads=2)
    XCLIPModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_the_clip_judge_takes_the_prompt_that_fits_best(xclip_folder):
    judge = ClipJudge.load(xclip_folder, MOTIONS)
    video = np.random.default_rng(0).integers(0, 255, (9, 40, 24, 3)).astype(np.uint8)
    case = ClipCase("00__squat", "00", "squat", FPS, video)
    verdict = judge.verdict(case)
    pixels = frame_pixels(video, 4, 32)
    with torch.no_grad():
        logits = [judge.model(pixel_values=pixels[None], input_ids=judge.tokens["input_ids"][[row]],
                              attention_mask=judge.tokens["attention_mask"][[row]]).logits_per_video.item() for row in range(20)]
    assert verdict.label == MOTIONS[int(np.argmax(logits))].name and len(set(np.round(logits, 5))) > 15
    assert motion_score(judge).of(replace(case, motion=verdict.label)).value == 1


def test_frames_are_whole_and_not_stretched():
    video = np.full((3, 40, 20, 3), 255, np.uint8)
    pixels = frame_pixels(video, 8, 32)
    bright = (pixels.mean(dim=1) > 2).numpy()
    assert pixels.shape == (8, 3, 32, 32) and bright[:, :, 8:24].all() and not bright[:, :, :8].any() and not bright[:, :, 24:].any()


def test_missing_weights_are_refused_with_the_command_that_fetches_them(tmp_path):
    with pytest.raises(ValueError, match="hf download microsoft/xclip-base-patch32 --local-dir"):
        ClipJudge.load(tmp_path, MOTIONS)


# ---------------------------------------------------------------- vlm

@pytest.fixture
def server():
    with ChatServer() as server:
        yield server


def video_case(motion: str = "wave_left") -> ClipCase:
    frames = np.linspace(0, 255, 30)[:, None, None, None] * np.ones((1, 64, 48, 3))
    return ClipCase(f"00__{motion}", "00", motion, FPS, frames.astype(np.uint8))


def test_the_vlm_judge_asks_for_coarse_labels_and_scores_them(server):
    judge = VlmJudge(server.url, "tiny", MOTIONS)
    server.replies += ['{"motion": "wave"}', '```json\n{"motion": "Squat"}\n```']
    assert motion_score(judge).of(video_case("wave_left")).value == 1                      # left or right is not asked
    wrong = motion_score(judge).of(video_case("wave_left"))
    assert wrong.value == 0 and wrong.label == "squat"
    _, _, asked = server.requests[0]
    text, *pictures = asked["messages"][0]["content"]
    assert "- wave\n" in text["text"] and "wave_left" not in text["text"] and len(pictures) == 8
    shades = [np.asarray(Image.open(io.BytesIO(base64.b64decode(p["image_url"]["url"].split(",")[1])))).mean() for p in pictures]
    assert np.allclose(shades, np.linspace(0, 255, 8), atol=6)                              # evenly spaced, in order
    names = asked["response_format"]["json_schema"]["schema"]["properties"]["motion"]["enum"]
    assert set(names) == {motion.kind for motion in MOTIONS}


@pytest.mark.parametrize("answer", ["I think it is a wave", '{"motion": "moonwalk"}', '["wave"]', '{"motion": 3}', "",
                                    '<think>{"motion": "wave"} perhaps',
                                    (200, completion(content=None, refusal="I do not judge people"))])
def test_an_answer_that_cannot_be_read_is_unknown_and_never_a_lower_score(server, answer):
    server.replies += [answer, '{"motion": "wave"}']
    judge = VlmJudge(server.url, "tiny", MOTIONS)
    score = motion_score(judge).of(video_case())
    assert np.isnan(score.value) and score.note and score.label == "" and not score.again
    assert motion_score(judge).of(video_case()).value == 1                                  # the server is not given up


@pytest.mark.parametrize("answer", [
    '\ufeff{"motion": "wave"}', 'Sure! {"motion": "Wave"} as seen in {frame 3}', "wave", "**Wave**.", '<think>{"motion": "squat"}?</think>{"motion": "wave"}',
    '<|channel|>analysis {"motion": "bow"}<|channel|>final<|message|>{"motion": "wave"}',
    (200, completion(content=[{"type": "thinking", "thinking": "squat"}, {"type": "text", "text": '{"motion": "wave"}'}]))])
def test_answers_are_read_as_the_planner_reads_them(server, answer):
    server.replies.append(answer)
    assert VlmJudge(server.url, "tiny", MOTIONS).verdict(video_case()) == Verdict("wave", "wave")


def test_a_refused_form_of_answer_is_not_asked_for_again(server):
    refused = (400, {"error": {"message": "response_format json_schema is not supported"}})
    server.replies += [refused, '{"motion": "wave"}', '{"motion": "wave"}']
    judge = VlmJudge(server.url, "tiny", MOTIONS)
    assert [judge.verdict(video_case()).label for _ in range(2)] == ["wave", "wave"]
    assert [body["response_format"]["type"] for _, _, body in server.requests] == ["json_schema", "json_object", "json_object"]


def test_a_server_that_is_down_is_a_reason_and_is_not_asked_again(server):
    url = server.url
    server.shutdown()
    server.server_close()
    judge = VlmJudge(url, "tiny", MOTIONS, timeout_seconds=2)
    first, second = motion_score(judge).of(video_case()), motion_score(judge).of(video_case())
    assert np.isnan(first.value) and "no server reached" in first.note and "start it" in first.note
    assert second == first or (np.isnan(second.value) and second.note == first.note)


def test_single_errors_are_forgiven_and_three_in_a_row_are_not(server):
    judge, broken = VlmJudge(server.url, "tiny", MOTIONS), (500, {"error": {"message": "busy"}})
    server.replies += [broken, broken, '{"motion": "wave"}', broken, broken, broken]
    verdicts = [judge.verdict(video_case()) for _ in range(7)]
    assert [verdict.asked for verdict in verdicts] == [False, False, True, False, False, False, False]
    assert "busy" in verdicts[0].note and len(server.requests) == 6 and verdicts[2] == Verdict("wave", "wave")


def test_a_missing_model_or_key_is_refused_at_once(monkeypatch):
    with pytest.raises(ValueError, match="judge.model"):
        VlmJudge("http://localhost:1/v1", "", MOTIONS)
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with pytest.raises(ValueError, match="NO_SUCH_KEY"):
        VlmJudge("http://localhost:1/v1", "tiny", MOTIONS, "NO_SUCH_KEY")
