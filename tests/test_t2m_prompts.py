"""The prompts that train text to motion still say what is done, whatever is written around it."""
import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import CLIPTokenizer

from demo import t2m_data as text, train_t2m
from media.files import save_text
from unseen_prompts import unseen_prompts
from synthetic.captions import caption

FACT = dict(kind="wave", side="left", repetitions=2, caption="The old man waves with his left hand twice.")


def test_prompts_vary_and_seldom_leave_the_side_open():
    rng = np.random.default_rng(0)
    prompts = {text.training_prompt(FACT, 20, rng) for _ in range(300)}
    assert len(prompts) > 200
    words = [set(re.findall(r"[a-z]+", prompt.lower())) for prompt in prompts]
    assert not any("right" in used for used in words)
    assert 0.82 < np.mean(["left" in used for used in words]) < 0.97
    assert 0.75 < np.mean([prompt.endswith(", 4 seconds") for prompt in prompts]) < 0.95


def test_a_stranger_replaces_the_subject_and_nothing_else():
    rng = np.random.default_rng(1)
    changed = {text.with_stranger("a man squats deeply", rng) for _ in range(50)}
    assert len(changed) > 30 and all(line.endswith(" squats deeply") and line != "a man squats deeply" for line in changed)
    assert text.with_stranger("squatting deeply", rng) == "squatting deeply"


@pytest.mark.parametrize("change", [text.with_clause, text.with_strange_words])
def test_words_are_added_and_all_others_stay_in_order(change):
    rng = np.random.default_rng(2)
    kind = "kick"
    for _ in range(50):
        before = caption(kind, "right", None, rng).rstrip(".").split()
        after = iter(change(" ".join(before), rng).replace(",", "").split())
        assert all(word.replace(",", "") in after for word in before)


def test_strange_words_name_no_motion():
    words = set(text.strange_words())
    assert len(words) > 1000 and not words & {"left", "right", "both", "wave", "jump", "raise", "turn", "kneel", "head"}


def test_the_tokenizer_keeps_prompts_it_has_never_seen_whole(tmp_path):
    text.train_tokenizer(tmp_path, text.caption_corpus(800, 0), vocab_size=1200)
    tokenizer = CLIPTokenizer.from_pretrained(tmp_path, local_files_only=True)
    prompts = [prompt for _, _, prompt in unseen_prompts()]
    ids = [tokenizer(prompt)["input_ids"] for prompt in prompts]
    assert max(map(len, ids)) <= text.CONTEXT_LENGTH
    decoded = tokenizer.batch_decode(ids, skip_special_tokens=True)
    assert ["".join(line.split()) for line in decoded] == ["".join(prompt.lower().split()) for prompt in prompts]


def test_a_tokenizer_whose_writing_was_interrupted_is_made_again(tmp_path, monkeypatch):
    def interrupted(folder, corpus, vocab_size):
        folder.mkdir()
        (folder / "vocab.json").write_text("{")
        raise KeyboardInterrupt

    def whole(folder, corpus, vocab_size):
        shutil.copytree(Path(__file__).parents[1] / "weights" / "demo" / "t2m" / "tokenizer", folder, dirs_exist_ok=True)

    arguments = SimpleNamespace(work=tmp_path, start_from=None, seed=0)
    monkeypatch.setattr(train_t2m, "caption_corpus", lambda count, seed: [])
    monkeypatch.setattr(train_t2m, "train_tokenizer", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train_t2m.reader_to_train(SimpleNamespace(facts=[FACT]), arguments)
    monkeypatch.setattr(train_t2m, "train_tokenizer", whole)
    assert train_t2m.reader_to_train(SimpleNamespace(facts=[FACT]), arguments).tokens(["a man waves"]).shape == (1, 5)


@pytest.mark.parametrize("changed, said", [(["--motions", "300"], "motions: 18000 there, 300 now"), (["--seed", "2"], "seed: 1 there, 2 now"),
                                           (["--mocap", "people"], "mocap: None there, ")])
def test_motions_that_were_made_otherwise_are_refused_and_the_difference_is_named(tmp_path, monkeypatch, changed, said):
    monkeypatch.chdir(tmp_path)
    for name in ("people/mocap.npz", "people/clips.jsonl"):
        save_text(tmp_path / name, "")
    monkeypatch.setattr(train_t2m, "prepare", lambda folder, *_: folder.mkdir() or sys.exit())
    for arguments, ends in (([], pytest.raises(SystemExit)), (changed, pytest.raises(ValueError, match=f"settings.json: made with other settings .{said}"))):
        monkeypatch.setattr(sys, "argv", ["train_t2m.py", "--work", "work", *arguments])
        with ends:
            train_t2m.main()


def test_too_few_motions_are_refused_before_any_is_made(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["train_t2m.py", "--work", str(tmp_path / "work"), "--motions", "100"])
    with pytest.raises(SystemExit):
        train_t2m.main()
    assert "--motions: expected a whole number, 228 or more (found '100')" in capsys.readouterr().err and not (tmp_path / "work").exists()


def test_a_gpt_remembers_whose_codes_it_learnt():
    gpt = train_t2m.GPT(**text.tokens_for(None).gpt)
    one, same, other = (train_t2m.PromptTask(torch.nn.Identity(), gpt, torch.full((2, 50), code), torch.tensor([4, 4]), 0).settings for code in (3, 3, 5))
    assert one == same != other
