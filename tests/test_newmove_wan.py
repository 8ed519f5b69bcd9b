"""The same customisation on Wan: which layers get updates, the flow-matching target, and a LoRA that diffusers reads."""
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKLWan, UniPCMultistepScheduler, WanPipeline, WanTransformer3DModel
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch.utils.data import default_collate
from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

import generate_customized
import train_motion_customization as launcher
from configs import load_config
from media.video_writer import write_video
from newmove.clips import MotionClips, clips_in
from newmove.task import MotionTask
from newmove.objective import PAPER
from newmove.wan import NAME, WanTextToVideo
from newmove.generation import check_weights, load_customized



class Oracle(torch.nn.Module):
    """A network that knows the answer."""

    def __init__(self, answer: torch.Tensor):
        super().__init__()
        self.answer = answer

    def forward(self, *_, **__):
        return (self.answer,)


WAN_1_3B = dict(num_attention_heads=12, attention_head_dim=128, ffn_dim=8960, num_layers=30, text_dim=4096, freq_dim=256)
WORDS = "a man woman doing the sks dance waves in kitchen".split()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A complete tiny Wan2.1 folder with random weights, as diffusers saves it."""
    torch.manual_seed(0)
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(["<pad>", "</s>", "<unk>", *WORDS])}, "<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")
    text = UMT5EncoderModel(UMT5Config(vocab_size=32, d_model=16, d_kv=4, d_ff=32, num_layers=2, num_heads=4))
    transformer = WanTransformer3DModel(num_attention_heads=2, attention_head_dim=12, text_dim=16, freq_dim=32, ffn_dim=48, num_layers=2)
    torch.nn.init.normal_(transformer.proj_out.weight, std=0.3)
    vae = AutoencoderKLWan(base_dim=8, dim_mult=[1, 1, 1, 1], num_res_blocks=1)
    path = tmp_path_factory.mktemp("wan") / "wan"
    scheduler = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0)
    WanPipeline(fast, text.eval(), vae.eval(), scheduler, transformer.eval()).save_pretrained(path)
    return path


@pytest.fixture
def model(folder):
    return WanTextToVideo.load(folder, rank=4)


@pytest.fixture(scope="module")
def exemplars(tmp_path_factory):
    path, rng = tmp_path_factory.mktemp("exemplars"), np.random.default_rng(0)
    for stem in ("a", "b"):
        write_video(path / f"{stem}.mp4", rng.integers(0, 256, (9, 32, 48, 3), np.uint8), 16)
        (path / f"{stem}.txt").write_text("a man doing the sks dance")
    return path


@pytest.mark.parametrize("groups, rank, millions", [(["temporal"], 16, 5.90), (["temporal"], 32, 11.80), (PAPER, 16, 8.85),
                                                    (PAPER, 32, 17.69), (["all"], 16, 11.80)])
def test_real_size_updates_have_the_expected_size(groups, rank, millions):
    with init_empty_weights():
        transformer = WanTransformer3DModel(**WAN_1_3B)
        assert sum(p.numel() for p in transformer.parameters()) == 1_418_996_800
        network = WanTextToVideo(None, None, transformer, None, {}, Path("."), rank)
        names = network.choose_trained(groups)
    assert sum(transformer.get_parameter(name).numel() for name in names) / 1e6 == pytest.approx(millions, abs=0.006)
    assert all("lora_" in name for name in names)


def test_an_unknown_group_names_the_known_ones(model):
    with pytest.raises(ValueError, match="trainable_modules: expected temporal, .* for Wan .found 'resnets'"):
        model.choose_trained(["resnets"])


def test_the_sampler_gives_the_frames_of_diffusers(model, folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipe = WanPipeline.from_pretrained(folder, local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    options = dict(num_inference_steps=3, guidance_scale=4.0, negative_prompt="a kitchen")
    wanted = pipe("a man waves", num_frames=5, height=32, width=48, generator=torch.Generator().manual_seed(7), output_type="np",
                  **options).frames[0]
    found = model("a man waves", 7, num_frames=5, size=(32, 48), progress=False, **options)
    assert found.shape == wanted.shape == (5, 32, 48, 3)
    assert np.abs(found.astype(float) - wanted * 255).max() <= 1


def test_the_target_is_the_straight_line_and_a_perfect_network_has_no_loss(model, exemplars):
    task = MotionTask(model, PAPER, seed=1)
    batch = default_collate([MotionClips(clips_in(exemplars), [], 5, (32, 48), seed=1)[0, 3]])
    noisy, target, timestep, text, anchor = task.inputs(batch)
    latents = task.latents(batch)
    sigma = (timestep / 1000)[..., None, None, None, None]
    assert torch.allclose(noisy, latents + sigma * target, atol=1e-5) and text.shape[2:] == (512, 16)
    assert torch.allclose(noisy + (1 - sigma) * target, target + latents, atol=1e-5)              # pure noise at sigma = 1
    task.objective.network = Oracle(target[:, 0])
    assert float(task.objective(noisy, target, timestep, text, anchor)) == 0
    wanted = model.vae.encode(batch["frames"][0, 0].transpose(0, 1)[None]).latent_dist.mean[0]
    mean, scale = (torch.tensor(v)[:, None, None, None] for v in (model.vae.config.latents_mean, model.vae.config.latents_std))
    moments = model.encode_frames(batch["frames"][0, 0])
    assert torch.allclose(model.latents_from(*moments, torch.zeros_like(moments[0])), (wanted - mean) / scale, atol=1e-4)


def test_frame_counts_and_sizes_wan_cannot_make_are_refused(model):
    with pytest.raises(ValueError, match=r"num_frames: expected 4k\+1 for Wan .found 16.: take 13 or 17"):
        model("a", 1, num_frames=16)
    with pytest.raises(ValueError, match="expected multiples of 16 pixels for Wan .found 40x48"):
        model("a", 1, num_frames=5, size=(40, 48))


def test_a_lora_that_diverged_is_refused_and_not_written(model, tmp_path):
    with pytest.raises(ValueError, match="expected finite weights .found inf or NaN in 'transformer.blocks.0.weight'"):
        model.save_trained(tmp_path, {"blocks.0.default.weight": torch.tensor([1.0, float("nan")])}, "sks")
    assert not list(tmp_path.iterdir())


def test_a_run_writes_a_lora_that_our_sampler_and_diffusers_read(folder, exemplars, tmp_path):
    torch.set_num_threads(1)
    launcher.customize(load_config(launcher.MotionCustomizationConfig, [
        "base=wan", f"model={folder}", f"exemplars={exemplars}", f"prior={exemplars}", "num_frames=5", "fps=16", "height=32",
        "width=48", "bucketing=false", "lora_rank=4", f"train.output={tmp_path / 'run'}", "train.max_steps=3",
        "train.learning_rate=0.05", "train.mixed_precision=no", "train.num_workers=0", "train.report_to=none"]))
    stored = load_file(tmp_path / "run" / NAME)
    assert len(stored) == 2 * 2 * 6                                      # two blocks; attn1 q, k, v, out and attn2 k, v; A and B
    assert all(name.startswith("transformer.blocks.") for name in stored)
    assert all(float(tensor.abs().max()) > 0 for tensor in stored.values())
    noisy = torch.randn(1, 16, 2, 4, 6, generator=torch.Generator().manual_seed(0))
    text = torch.randn(1, 512, 16, generator=torch.Generator().manual_seed(1))
    call = lambda transformer: transformer(noisy, torch.tensor([500.0]), text, return_dict=False)[0]
    with torch.no_grad():
        plain, ours = call(WanTextToVideo.load(folder).transformer), call(load_customized(tmp_path / "run").transformer)
        pipe = WanPipeline.from_pretrained(folder, local_files_only=True)
        pipe.load_lora_weights(tmp_path / "run")
        theirs = call(pipe.transformer)
    assert torch.allclose(ours, theirs, atol=1e-4) and float((ours - plain).abs().max()) > 1e-2
    assert check_weights(tmp_path / "run") == folder
    generate_customized.main(["-m", str(tmp_path / "run"), "-o", str(tmp_path / "out"), "-p", "a man waves", "-r", "32x48", "-d", "5",
                              "-steps", "2", "--device", "cpu", "--dtype", "float32"])
    assert (tmp_path / "out" / "a_man_waves_seed44.mp4").is_file()


def test_wan_2_2_and_other_pipelines_are_refused(folder, tmp_path):
    index = json.loads((folder / "model_index.json").read_text())
    for change, words in (({"_class_name": "CogVideoXPipeline"}, "expected WanPipeline .* .found CogVideoXPipeline"),
                          ({"transformer_2": ["diffusers", "WanTransformer3DModel"]}, "found two: Wan2.2")):
        (tmp_path / "model_index.json").write_text(json.dumps(index | change))
        with pytest.raises(ValueError, match=words):
            WanTextToVideo.load(tmp_path)
