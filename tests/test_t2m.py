"""The VQ-VAE, the GPT and the text encoder against the published code's outputs, and generation around them."""
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPTokenizer

from synthetic.motions import sample_motion
from t2m.features import NUM_FEATURES
from t2m.generate import TextToMotion
from t2m.known_motions import (asked_count, COUNTED, asked_side, asked_turns, Example, KnownMotions, miscount, motion_costs, MotionBank, stem,
                               times_done, unrest)
from t2m.motion import PELVIS
from t2m.networks import delayed, GPT, undelayed, VQVAE
from t2m.text_encoder import TextEncoder, TextTower
from t2m.weights import load_strictly, read_config, read_examples, write_examples

FIXTURES = Path(__file__).parent / "fixtures" / "t2m"
VQVAE_SIZE = dict(num_codes=32, code_dim=16, width=24)
GPT_SIZE = dict(num_codes=24, width=32, text_dim=20, block_size=11, num_layers=3, num_heads=4)
CLOSE = dict(atol=5e-5, rtol=1e-4)


@pytest.fixture(scope="module")
def vqvae() -> VQVAE:
    return load_strictly(VQVAE(**VQVAE_SIZE), FIXTURES / "vqvae_tiny.weights.safetensors").eval()


@pytest.fixture(scope="module")
def gpt() -> GPT:
    return load_strictly(GPT(**GPT_SIZE), FIXTURES / "gpt_tiny.weights.safetensors").eval()


@pytest.fixture(scope="module")
def vqvae_golden() -> dict[str, torch.Tensor]:
    return load_file(FIXTURES / "vqvae_tiny.io.safetensors")


@pytest.fixture(scope="module")
def gpt_golden() -> dict[str, torch.Tensor]:
    return load_file(FIXTURES / "gpt_tiny.io.safetensors")


@pytest.mark.parametrize("model, name", [(VQVAE, "vqvae"), (GPT, "gpt")])
def test_the_released_checkpoint_fits_name_for_name(model, name):
    with torch.device("meta"):
        tensors = model().state_dict()
    released = json.loads((FIXTURES / f"manifest_{name}.json").read_text())
    assert {key: list(value.shape) for key, value in tensors.items()} == released


@pytest.mark.parametrize("case", ["T30", "T7"])
@torch.no_grad()
def test_the_vqvae_equals_the_published_one(vqvae, vqvae_golden, case):
    out = vqvae(vqvae_golden[f"in.motion_{case}"])
    assert torch.equal(out.codes, vqvae_golden[f"out.codes_{case}"])
    assert torch.equal(vqvae.encode(vqvae_golden[f"in.motion_{case}"]), out.codes)
    torch.testing.assert_close(out.latents.transpose(1, 2), vqvae_golden[f"out.encoder_out_{case}"], **CLOSE)
    torch.testing.assert_close(out.features, vqvae_golden[f"out.recon_{case}"], **CLOSE)
    torch.testing.assert_close(out.commitment[None], vqvae_golden[f"out.commit_{case}"], **CLOSE)
    torch.testing.assert_close(out.perplexity[None], vqvae_golden[f"out.perplexity_{case}"], **CLOSE)


@torch.no_grad()
def test_decoding_equals_the_published_one_and_never_mixes_rows(vqvae, vqvae_golden):
    codes = vqvae_golden["in.decode_codes_1x9"]
    torch.testing.assert_close(vqvae.decode(codes), vqvae_golden["out.decoded_1x9"], **CLOSE)
    both = vqvae.decode(torch.cat([codes, codes.flip(1)]))
    torch.testing.assert_close(both[:1], vqvae.decode(codes), **CLOSE)
    torch.testing.assert_close(both[1:], vqvae.decode(codes.flip(1)), **CLOSE)


@torch.no_grad()
def test_each_level_tokenises_what_the_levels_before_left():
    torch.manual_seed(0)
    model = VQVAE(num_codes=8, code_dim=4, width=8, depth=1, levels=3)
    quantizer, vectors = model.vqvae.quantizer, torch.randn(50, 4)
    torch.nn.init.normal_(quantizer.codebook)
    codes, left = quantizer.codes(vectors)                                                  # (50, 3), (50, 3, 4)
    assert [(level.min() >= 8 * i, level.max() < 8 * i + 8) for i, level in enumerate(codes.T)] == [(True, True)] * 3
    for level in range(3):
        rest = vectors - quantizer.codebook[codes[:, :level]].sum(dim=1)
        torch.testing.assert_close(left[:, level], rest)
        assert torch.equal(codes[:, level], torch.cdist(rest, quantizer.codebook[quantizer.level(level)]).argmin(dim=1) + 8 * level)
    torch.testing.assert_close(quantizer.rows(codes.view(1, -1))[0], quantizer.codebook[codes].sum(dim=1))
    tokens = model.encode(torch.randn(2, 22, 263))
    assert tokens.shape == (2, 5 * 3) and model.decode(tokens).shape == (2, 20, 263) and model.num_codes == 24


def test_tokens_of_all_levels_take_turns_and_end_with_a_whole_step():
    torch.manual_seed(0)
    gpt = GPT(num_codes=3 * 4, width=16, text_dim=8, block_size=7, num_layers=1, num_heads=2, dropout=0.0, levels=3)
    torch.nn.init.normal_(gpt.trans_head.head.weight)
    tokens = [row for seed in range(40) for row in gpt.sample(torch.randn(4, 8), generator=torch.Generator().manual_seed(seed))]
    assert all(torch.equal(row // 4, torch.arange(len(row)) % 3) for row in tokens)
    assert {len(row) % 3 for row in tokens} == {0} and {0, 3, 12} <= {len(row) for row in tokens}


def test_what_is_drawn_is_what_one_pass_over_the_delayed_tokens_gives():
    torch.manual_seed(0)
    gpt = GPT(num_codes=3 * 4, width=16, text_dim=8, block_size=9, num_layers=1, num_heads=2, dropout=0.0, levels=3).eval()
    torch.nn.init.normal_(gpt.trans_head.head.weight)
    text = torch.randn(4, 8)
    tokens = torch.stack(gpt.sample(text, min_steps=6, max_steps=6))                        # (4, 18)
    logits = gpt(delayed(tokens, 3, gpt.pad_token), text)                                   # (4, 9, 13)
    likeliest = torch.stack([gpt.logits_of(level, logits)[..., :4].argmax(dim=-1) + 4 * level for level in range(3)], dim=2)
    assert torch.equal(undelayed(likeliest[:, :8]), tokens) and gpt.max_steps == 6 and len(tokens.unique()) > 6


def test_too_short_a_motion_is_refused(vqvae):
    with pytest.raises(ValueError, match="at least 4 frames .found 3."):
        vqvae.encode(torch.zeros(1, 3, NUM_FEATURES))


@pytest.mark.parametrize("case", ["b3_full", "b1_l1", "b2_l4", "special"])
@torch.no_grad()
def test_logits_equal_the_published_ones(gpt, gpt_golden, case):
    logits = gpt(gpt_golden[f"in.tok_{case}"], gpt_golden[f"in.clip_{case}"])
    torch.testing.assert_close(logits, gpt_golden[f"out.logits_{case}"], atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_logits_of_the_text_alone_equal_the_published_ones(gpt, gpt_golden):
    torch.testing.assert_close(gpt(None, gpt_golden["in.clip_empty"]), gpt_golden["out.logits_empty"],
                               atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("case", ["max_a", "max_b", "early", "late", "end_after1", "end_exactly_at_last_step"])
def test_greedy_tokens_equal_the_published_ones(gpt, gpt_golden, case):
    assert torch.equal(gpt.sample(gpt_golden[f"in.greedyclip_{case}"])[0], gpt_golden[f"out.greedy_{case}"][0])


def test_an_end_at_the_first_step_is_an_empty_row(gpt, gpt_golden):
    """The published code raises UnboundLocalError here; its golden is marked -1."""
    assert gpt_golden["out.greedy_end_first"].tolist() == [[-1]]
    assert gpt.sample(gpt_golden["in.greedyclip_end_first"])[0].tolist() == []


def test_each_row_of_a_batch_ends_by_itself(gpt, gpt_golden):
    """The published code ends every row with row 0."""
    text = torch.cat([gpt_golden[f"in.greedyclip_{case}"] for case in ("early", "max_a", "end_first", "late")])
    alone = [gpt.sample(row[None])[0] for row in text]
    assert [len(row) for row in alone] == [4, 10, 0, 9]
    for row, together in zip(alone, gpt.sample(text), strict=True):
        assert torch.equal(row, together)


@torch.no_grad()
def test_the_cache_gives_the_logits_of_a_full_pass(gpt, gpt_golden):
    text, codes = gpt_golden["in.clip_b3_full"], gpt_golden["in.tok_b3_full"]
    cache = gpt.empty_cache()
    steps = [gpt(None, text, cache)] + [gpt(codes[:, i:i + 1], None, cache) for i in range(codes.shape[1])]
    torch.testing.assert_close(torch.cat(steps, dim=1), gpt(codes, text), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("case, length", [("early", 8), ("end_first", 3), ("max_a", 2)])
def test_the_length_asked_for_is_the_length_made(gpt, gpt_golden, case, length):
    tokens = gpt.sample(gpt_golden[f"in.greedyclip_{case}"], min_steps=length, max_steps=length)[0]
    assert len(tokens) == length and (tokens < gpt.end_token).all()


def test_draws_repeat_with_the_seed_and_differ_without(gpt, gpt_golden):
    def drawn(seed):
        return gpt.sample(gpt_golden["in.greedyclip_max_a"], min_steps=10, max_steps=10,
                          generator=torch.Generator().manual_seed(seed))[0].tolist()
    assert drawn(3) == drawn(3) and len({tuple(drawn(seed)) for seed in range(6)}) > 1


def test_more_tokens_than_positions_are_refused(gpt):
    with pytest.raises(ValueError, match="at most 10 tokens .found 11."):
        gpt(torch.zeros(1, 11, dtype=torch.long), torch.zeros(1, 20))
    with pytest.raises(ValueError, match="max_steps <= 10"):
        gpt.sample(torch.zeros(1, 20), max_steps=11)


def clip_from_openai(weights: dict[str, np.ndarray]) -> TextTower:
    """CLIP's text tower from the names of openai/CLIP (notes/t2m.md §4, clip.json key_map)."""
    model = TextTower(dict(vocab_size=64, hidden_size=32, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
                           max_position_embeddings=12, projection_dim=16, hidden_act="quick_gelu"))
    tensors = {"text_model.embeddings.token_embedding.weight": weights["token_embedding.weight"],
               "text_model.embeddings.position_embedding.weight": weights["positional_embedding"],
               "text_projection.weight": weights["text_projection"].T}
    for part in ("weight", "bias"):
        tensors[f"text_model.final_layer_norm.{part}"] = weights[f"ln_final.{part}"]
        for layer in range(2):
            theirs, ours = f"transformer.resblocks.{layer}", f"text_model.encoder.layers.{layer}"
            for name, rows in zip("qkv", np.split(weights[f"{theirs}.attn.in_proj_{part}"], 3), strict=True):
                tensors[f"{ours}.self_attn.{name}_proj.{part}"] = rows
            for a, b in (("attn.out_proj", "self_attn.out_proj"), ("ln_1", "layer_norm1"), ("ln_2", "layer_norm2"),
                         ("mlp.c_fc", "mlp.fc1"), ("mlp.c_proj", "mlp.fc2")):
                tensors[f"{ours}.{b}.{part}"] = weights[f"{theirs}.{a}.{part}"]
    state = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in tensors.items()}
    model.load_state_dict(state)
    return model.eval()


@torch.no_grad()
def test_the_text_feature_equals_openai_clips():
    golden = np.load(FIXTURES / "clip_tiny.npz")
    model = clip_from_openai({name[2:]: golden[name] for name in golden.files if name.startswith("w_")})
    tokens = torch.from_numpy(golden["in_tokens"])
    np.testing.assert_allclose(model(tokens, tokens.argmax(dim=1)).numpy(), golden["out_text_features"], atol=1e-5)


@torch.no_grad()
def test_tower_and_tokenizer_equal_transformers(tmp_path):
    """Also on text in other letters, signs, spaces, and longer than the context."""
    texts = ["A person's hand  waves,\tthen…", "Ärger! 12 naïve 走る", "x " * 60, "don't stop", ""]
    demo, tokenizer = Path("weights/demo/t2m"), CLIPTokenizer.from_pretrained("weights/demo/t2m/tokenizer", local_files_only=True)
    encoder, tower = TextEncoder.load(demo), CLIPTextModelWithProjection.from_pretrained(demo / "text_encoder", dtype=torch.float32)
    theirs = tokenizer(texts, padding=True, truncation=True, max_length=encoder.model.max_tokens, return_tensors="pt")
    assert [row.ids for row in encoder.tokenizer.encode_batch(texts)] == theirs["input_ids"].tolist()
    np.testing.assert_allclose(encoder(texts), tower(input_ids=theirs["input_ids"]).text_embeds, atol=2e-5)
    encoder.model.save(tmp_path)
    again = CLIPTextModelWithProjection.from_pretrained(tmp_path)
    assert all(torch.equal(value, tower.state_dict()[name]) for name, value in again.state_dict().items())


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory, vqvae) -> Path:
    """A folder of ours with the tiny VQ-VAE, a GPT of its codes and a small text encoder."""
    folder = tmp_path_factory.mktemp("t2m")
    torch.manual_seed(0)
    gpt_size = dict(num_codes=32, width=32, text_dim=16, block_size=51, num_layers=1, num_heads=2)
    sizes = dict(vqvae=VQVAE_SIZE, gpt=gpt_size)
    (folder / "config.json").write_text(json.dumps(sizes | dict(prompt="{text}, {seconds:.0f} seconds")))
    save_file(vqvae.state_dict(), folder / "vqvae.safetensors")
    save_file(GPT(**sizes["gpt"]).half().state_dict(), folder / "gpt.safetensors")
    meta = np.load(FIXTURES / "meta_stats.npz")
    np.save(folder / "mean.npy", meta["meta_mean"])
    np.save(folder / "std.npy", meta["meta_std"])
    letters = [*"abcdefghijklmnopqrstuvwxyz0123456789,."]
    tokens = letters + [letter + "</w>" for letter in letters] + ["<|startoftext|>", "<|endoftext|>"]
    (folder / "tokenizer").mkdir()
    (folder / "tokenizer" / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    (folder / "tokenizer" / "merges.txt").write_text("#version: 0.2\n")
    CLIPTextModelWithProjection(CLIPTextConfig(
        vocab_size=len(tokens), hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=24, projection_dim=16, bos_token_id=len(tokens) - 2, eos_token_id=len(tokens) - 1,
    )).save_pretrained(folder / "text_encoder")
    return folder


@pytest.mark.parametrize("seconds, frames", [(0.05, 1), (1.0, 20), (2.36, 47), (10.0, 200)])
def test_a_motion_is_as_long_as_asked(model_folder, seconds, frames):
    assert len(TextToMotion.load(model_folder)("waves", seconds)) == frames


def test_a_seed_decides_the_motion(model_folder):
    t2m = TextToMotion.load(model_folder)
    first, again, other = (t2m("jumps", 3.0, torch.Generator().manual_seed(seed)).joints for seed in (1, 1, 2))
    assert np.array_equal(first, again) and np.abs(first - other).max() > 1e-3
    assert np.array_equal(t2m("jumps", 3.0).joints, t2m("jumps", 3.0).joints)            # greedy without a generator


@pytest.mark.parametrize("text, seconds, words", [("waves", 14.0, "'waves': 14.00 s.*10.0 s.*split"),
                                                  ("waves", 0.0, "0.00 s"), ("  ", 2.0, "empty text")])
def test_impossible_requests_name_the_text_and_the_limit(model_folder, text, seconds, words):
    with pytest.raises(ValueError, match=words):
        TextToMotion.load(model_folder)(text, seconds)


def released_copy(folder: Path, target: Path, std: np.ndarray, mean: np.ndarray) -> Path:
    """The same weights as the published files: .pth with one top-level key, at the published places."""
    shutil.copytree(folder, target)
    for ours, theirs, key in (("vqvae.safetensors", "VQVAE/net_last.pth", "net"),
                              ("gpt.safetensors", "VQTransformer_corruption05/net_best_fid.pth", "trans")):
        (target / theirs).parent.mkdir()
        torch.save({key: load_file(target / ours)}, target / theirs)
        (target / ours).unlink()
    np.save(target / "std.npy", std)
    np.save(target / "mean.npy", mean)
    return target


def test_the_released_files_load_to_the_same_model(model_folder, tmp_path):
    meta = np.load(FIXTURES / "meta_stats.npz")
    folder = released_copy(model_folder, tmp_path / "released", meta["meta_std"], meta["meta_mean"])
    released, ours = (TextToMotion.load(path)("walks", 2.0).joints for path in (folder, model_folder))
    assert np.array_equal(released, ours)


def test_humanml3ds_std_is_refused_for_the_released_files(model_folder, tmp_path):
    """notes/t2m.md §6: with it the person turns and walks 25 times too much."""
    meta = np.load(FIXTURES / "meta_stats.npz")
    folder = released_copy(model_folder, tmp_path / "wrong", meta["h3d_std"], meta["h3d_mean"])
    with pytest.raises(ValueError, match="std.npy.*25 times"):
        TextToMotion.load(folder)


def test_a_mean_in_place_of_the_std_is_refused(model_folder, tmp_path):
    """HMTV loads mean.npy for both."""
    meta = np.load(FIXTURES / "meta_stats.npz")
    folder = released_copy(model_folder, tmp_path / "mean", meta["meta_mean"], meta["meta_mean"])
    with pytest.raises(ValueError, match="std.npy.*copy of mean.npy"):
        TextToMotion.load(folder)


def test_a_missing_or_misshapen_tensor_is_named_with_its_file(vqvae, tmp_path):
    tensors = vqvae.state_dict()
    save_file({name: value for name, value in tensors.items() if "codebook" not in name}, tmp_path / "short.safetensors")
    with pytest.raises(ValueError, match="short.safetensors: 1 tensors missing, first 'vqvae.quantizer.codebook'"):
        load_strictly(VQVAE(**VQVAE_SIZE), tmp_path / "short.safetensors")
    save_file(tensors, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"other.safetensors: .*'vqvae.* instead of \(.*config.json"):
        load_strictly(VQVAE(num_codes=32, code_dim=16, width=32), tmp_path / "other.safetensors")
    (tmp_path / "cut.pth").write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(ValueError, match="cut.pth"):
        load_strictly(VQVAE(**VQVAE_SIZE), tmp_path / "cut.pth")


@pytest.mark.parametrize("file, value", [("vqvae.safetensors", torch.nan), ("gpt.safetensors", torch.inf), ("text_encoder/model.safetensors", torch.nan)])
def test_a_tensor_that_is_not_finite_is_named_with_its_file(model_folder, tmp_path, file, value):
    folder = shutil.copytree(model_folder, tmp_path / "t2m")
    tensors = load_file(folder / file)
    name = next(name for name, tensor in tensors.items() if tensor.is_floating_point())
    tensors[name].view(-1)[0] = value
    save_file(tensors, folder / file)
    with pytest.raises(ValueError, match=rf"{file}: expected finite weights .found NaN or infinity in '{name}'.: the file is damaged"):
        TextToMotion.load(folder)


def test_a_missing_file_says_what_was_looked_for(tmp_path):
    with pytest.raises(FileNotFoundError, match="net_last.pth"):
        TextToMotion.load(tmp_path)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        TextToMotion.load(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="text encoder"):
        TextEncoder.load(tmp_path)


@pytest.mark.parametrize("key, values, range_", [
    ("draws", ["0", "-12", '"3"', "1.5", "true", "1e7", "null", "10000000"], "a whole number from 1 to 1000"),
    ("temperature", ["0", "-1", "NaN", "Infinity", '"x"'], "a number from 0.001 to 1000"),
    ("forward_smoothing", ["-2.0", '"x"', "0", "[2]"], "a number from 0.01 to 1000"),
    ("heading", ['"foo"', "1", "[]"], "published or body"),
    ("prompt", ['"{foo}"', "5", '"{"', '"{text} {}"', '"{text.upper}"', '"{text:d}"', '"no text"'], "a text with {text}"),
])
def test_a_value_of_the_config_that_cannot_be_used_is_named_with_its_range(tmp_path, key, values, range_):
    for value in values:
        (tmp_path / "config.json").write_text(f'{{"{key}": {value}}}')
        with pytest.raises(ValueError, match=re.escape(f"config.json: {key}: expected {range_}") + r".*\(found .*\): correct it"):
            read_config(tmp_path)


def test_values_of_the_config_at_the_ends_of_their_ranges_are_taken(tmp_path):
    for config in (dict(draws=1, temperature=1, forward_smoothing=2, heading="body", prompt="{text}"),
                   dict(draws=1000, temperature=0.5, prompt="{text}, {seconds:.0f} seconds")):
        (tmp_path / "config.json").write_text(json.dumps(config))
        assert read_config(tmp_path) == config


def test_inflected_words_share_a_stem_and_unlike_words_do_not():
    for forms in (("wave", "waves", "waving", "waved"), ("clap", "claps", "clapping"), ("jump", "jumps", "jumping"),
                  ("raise", "raises", "raising"), ("cross", "crosses", "crossed"), ("run", "runs", "running")):
        assert len({stem(word) for word in forms}) == 1, forms
    assert len({stem(word) for word in ("wave", "walk", "clap", "jump", "sit", "run")}) == 6


def test_motions_outside_the_training_words_are_known_as_such():
    known = KnownMotions.of(["wave", "walk"], ["waves", "walks"])
    assert known.covers("She is Waving goodbye.") and not known.covers("plays the violin")


def test_most_of_a_phrase_is_known_as_a_motion_too():
    known = KnownMotions.of([], [], wordings={"kick": ["boot a ball with foot"], **{letter: [3 * letter] for letter in "bcdfghjklmnpqrst"}})
    assert known.covers("A footballer boots the ball with his foot.") and not known.covers("a ball with stripes")


def test_without_a_word_list_nothing_is_called_unknown(model_folder):
    assert TextToMotion.load(model_folder).unknown_motion("plays the violin") is None


def test_an_unknown_motion_is_explained(model_folder, tmp_path):
    shutil.copytree(model_folder, tmp_path / "listed")
    (tmp_path / "listed" / "known_motions.json").write_text(json.dumps(dict(words=["wave"], phrases=["waves hands"])))
    t2m = TextToMotion.load(tmp_path / "listed")
    assert "no motion word" in t2m.unknown_motion("plays the violin") and t2m.unknown_motion("he waved") is None


def test_what_a_text_may_mean_is_what_its_verbs_share():
    known = KnownMotions.of([], [], verbs={"rush": ["run", "walk"], "run": ["run", "jog"], "sit": ["sit"]},
                            vague={"move": ["dance"]}, nouns={"arm": ["wave"]}, senses=[(r"bends? .*left", ["stretch"])])
    for text, kinds in (("she rushes and runs", {"run"}), ("runs, then sits", {"run", "jog", "sit"}),
                        ("moves while running", {"run", "jog", "dance"}), ("an arm goes up", {"wave"}),
                        ("he bends his arm to the left", {"stretch"}), ("plays the violin", set())):
        assert known.meant(text) == kinds, text


def test_a_text_means_what_the_phrases_nearest_to_it_mean():
    known = KnownMotions.of([], [], vague={"take": ["sit", "walk", "drink"], "lift": ["drink", "wave"]}, verbs={"wave": ["wave"]}, wordings={
        "sit": ["take a seat", "sit down"], "walk": ["take a few steps"], "drink": ["take a sip", "lift a cup"], "wave": ["wave", "lift the hand"],
        **{letter: [3 * letter] for letter in "bcdfghjklmnpqrst"}})                                  # among many kinds a word of one says much
    for text, kinds in (("he takes the seat", {"sit"}), ("takes steps", {"walk"}), ("takes a sip", {"drink"}), ("lifts a cup", {"drink"}),
                        ("lifts it", {"drink", "wave"}), ("waves", {"wave"}), ("plays the violin", set())):
        assert known.meant(text) == kinds, text


def test_examples_of_real_people_count_for_what_they_do_only():
    known = KnownMotions.of(["kick"], ["kicks"], only_with={"kick": r"\bball\b"})
    assert known.is_shown_by_people("kick", "kicks the ball") and known.is_shown_by_people("walk", "walks")
    assert not known.is_shown_by_people("kick", "a high kick")


@pytest.mark.parametrize("text, count", [
    ("squats", None), ("does a squat", 1), ("makes one deep bow", 1), ("jumps twice", 2), ("Jumps three times.", 3),
    ("does 4 squats", 4), ("waves a hand", None), ("a man jumps", None)])
def test_the_number_a_text_asks_for(text, count):
    assert asked_count(text) == count


@pytest.mark.parametrize("text, metres, told", [
    ("runs to the left", 2.0, False), ("runs to the left", -2.0, True), ("walks to her right", -1.0, False), ("walks to her right", 0.1, True),
    ("walks forward", 0.0, False), ("runs leftwards", 3.0, False)])
def test_who_is_to_go_to_a_side_and_does_not_is_told(text, metres, told):
    joints = np.zeros((20, 22, 3), np.float32)
    joints[..., 0] = np.linspace(0, metres, 20)[:, None]                                    # the person's left is +x
    assert (miscount(text, "run", joints) is not None) == told
    assert "does not go" not in (miscount(text, "jump", joints) or "")                        # who jumps need not go anywhere


@pytest.mark.parametrize("text, turns", [
    ("turns around", 0.5), ("a person turns around twice", 1), ("turns 360 degrees clockwise, 2 times", 2), ("makes a full turn", 1),
    ("does two quarter turns", 0.5), ("rotates 90° to the left", 0.25), ("spins three times", 3), ("spins", None), ("turns to the left", None),
    ("turns the head around", None), ("looks around twice", None)])
def test_how_far_a_text_wants_the_body_turned(text, turns):
    assert asked_turns(text) == turns


def test_a_turn_that_goes_another_part_of_the_way_round_is_told():
    turn = sample_motion("spin", 4.5, np.random.default_rng(3), repetitions=1).motion.joints                  # once round
    assert miscount("turns around twice", "turn", turn) is miscount("makes a full turn", "turn", turn) is None
    assert miscount("turns 360 degrees, 2 times", "turn", turn) == "turns once round, not 2 times round"
    assert miscount("turns around", "turn", turn[:1]) == "turns not at all, not half way round"


def test_a_side_is_asked_for_only_where_one_is_named():
    assert [asked_side(text) for text in ("the Left hand", "left and right", "a hand")] == ["left", None, None]


@pytest.mark.parametrize("kind", sorted({"spin", *COUNTED} - {"crouch"}))
def test_repetitions_are_counted(kind):
    rng = np.random.default_rng(3)
    for count in (1, 2, 3):
        assert times_done(kind, sample_motion(kind, 4.5, rng, repetitions=count).motion.joints) == count


def test_a_number_of_times_is_asked_for_and_told():
    clap = sample_motion("clap", 3.0, np.random.default_rng(0), repetitions=1).motion.joints
    assert [asked_count(text) for text in ("throws three punches", "a high kick", "claps twice", "claps")] == [3, 1, 2, None]
    assert miscount("claps once", "clap", clap) is None
    assert miscount("claps", "clap", clap) == "does this 1 time, not 2" and miscount("claps thrice", "clap", clap) is not None
    assert miscount("punches", "punch", np.repeat(clap[:1], 40, axis=0)) == "does this 0 times, not 1"


def test_a_motion_cut_in_the_air_or_crouched_does_not_end_at_rest_and_a_walk_may_go_on():
    rng = np.random.default_rng(0)
    jump = sample_motion("jump", 3.0, rng, repetitions=1).motion.joints
    top = int(jump[:, PELVIS, 1].argmax())
    walk = sample_motion("walk", 3.0, rng).motion.joints
    assert unrest("jump", jump) < 0.5 and unrest("jump", jump[:top + 1]) > 1 and unrest("walk", walk[:30]) == 0.0
    assert unrest("jump", np.repeat(jump[jump[:, PELVIS, 1].argmin()][None], 9, axis=0)) == 0.0          # began so, too
    assert unrest("jump", np.concatenate([jump[:1], jump[:jump[:, PELVIS, 1].argmin()]])) > 1           # crouched


def test_example_motions_are_compared_as_they_were_written(tmp_path):
    rng = np.random.default_rng(0)
    made = [Example(kind, side, sample_motion(kind, seconds, rng, side=side).motion.joints, real)
            for kind, side, seconds, real in (("wave", "left", 2.0, False), ("squat", None, 3.0, True))]
    write_examples(tmp_path, made)
    read = read_examples(tmp_path)
    assert [(each.kind, each.side, each.real) for each in read] == [("wave", "left", False), ("squat", None, True)]
    motion = sample_motion("squat", 3.0, rng).motion.joints
    costs = [motion_costs(motion, MotionBank.of((each.kind, each.side, each.joints) for each in examples)) for examples in (made, read)]
    assert costs[0] == pytest.approx(costs[1], abs=0.02)
    (tmp_path / "examples.npz").write_bytes((tmp_path / "examples.npz").read_bytes()[:200])
    with pytest.raises(ValueError, match="examples.npz: expected example motions"):
        read_examples(tmp_path)
