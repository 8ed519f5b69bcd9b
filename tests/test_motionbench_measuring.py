"""What MotionBench's run hands to its measures: the picture's own skeleton, and black frames for what could not be made."""

import numpy as np
import pytest

from bench_run import CELLS, Maker

from motionbench.measuring import catalogue
from motionbench.network_metrics import MetricWeights
from motionbench.results import clip_values, ClipResult


class Faces:
    """Stands in for ArcFace: a face is the mean colour of its frame, where anybody is seen."""

    def __init__(self, path, device):
        self.path = path

    def __call__(self, video, skeleton):
        rows = video.mean(axis=(1, 2))[skeleton.confidence.any(axis=1)]
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture
def measured_with(run_motionbench, tmp_path, monkeypatch):
    """Runs with all measures that need no weights of others, and with CSIM by a stand-in where `face` is there."""
    monkeypatch.setattr("motionbench.network_metrics.face_embedding", Faces)
    names = {"psnr", "csim", "fd_demo", "pck", "seam"}

    def start(face=True, maker=None):
        network = tmp_path / "face.onnx"
        network.write_bytes(b"face") if face else None
        weights = MetricWeights(face=str(network))

        def measures(config, motions, device):
            return tuple(metric for metric in catalogue((), weights, device) if metric.name in names)

        _, models, results, folder = run_motionbench("variants=given_motion,truth,repeat", "set_draws=0", maker=maker,
                                                     measures=measures)
        return results["rows"], models, folder

    return start


def test_faces_are_compared_with_the_pictures_own_when_the_network_is_there(measured_with):
    rows, *_ = measured_with()
    likeness = {name: row["figures"]["csim"]["mean"] for name, row in rows.items()}
    assert likeness["repeat"] == pytest.approx(1, abs=1e-3) and likeness["given_motion"] < likeness["truth"] < 1


def test_without_the_network_nobody_looks_for_a_face_in_the_picture(measured_with):
    rows, models, _ = measured_with(face=False)
    assert models.looks == 9                                                    # one look at each video
    assert "no weights at" in rows["given_motion"]["unknown_because"]["csim"]


def test_what_a_clip_has_no_value_for_is_not_measured_again(measured_with):
    """A clip within one tile has no seam: the same in every run, so that its truth need not be rendered anew."""
    *_, folder = measured_with()
    written = {path: path.stat().st_mtime_ns for path in folder.glob("scores/*/*.json")}
    measured_with()
    assert written == {path: path.stat().st_mtime_ns for path in folder.glob("scores/*/*.json")} and len(written) == 9


def test_a_clip_that_could_not_be_made_is_in_every_mean_that_compares(measured_with):
    good, *_ = measured_with(maker=Maker())
    bad, _, folder = measured_with(maker=Maker(fails=CELLS[1:2]))
    for name in good:
        assert good[name]["figures"]["psnr"]["count"] == bad[name]["figures"]["psnr"]["count"] == 3
    assert good["given_motion"]["figures"] == bad["given_motion"]["figures"]                    # kept: the clip was there already
    next(folder.glob(f"clips/given_motion/{CELLS[1]}.mp4")).unlink()
    bad, *_ = measured_with(maker=Maker(fails=CELLS[1:2]))
    figures, before = bad["given_motion"]["figures"], good["given_motion"]["figures"]
    assert {name: figures[name]["count"] for name in figures} == dict(psnr=3, csim=3, fd_demo=3, pck=3, seam=2)
    assert figures["psnr"]["mean"] < before["psnr"]["mean"] and figures["fd_demo"]["mean"] > before["fd_demo"]["mean"]
    assert figures["csim"]["mean"] < 0.7 * before["csim"]["mean"]
    page = (folder / "report.html").read_text()
    assert "counted as black frames" not in page and "a failed clip counts as black frames" in page


def test_a_judge_that_never_answered_is_absent_and_not_zero_because_of_the_clips_that_failed():
    def clip(failure, value):
        return ClipResult("a", "b", "c", failure, {"judge": {"value": value}})

    silent = clip_values([clip("", None), clip("no file", 0.0), clip("", None)], "judge")
    assert np.isnan(silent).all()
    assert clip_values([clip("", 1.0), clip("no file", 0.0)], "judge") == [1.0, 0.0]
    assert clip_values([clip("no file", 0.0)], "judge") == [0.0]
