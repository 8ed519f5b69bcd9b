"""Cut any videos into training clips with poses, captions and a manifest; optionally cache their latents.

    python scripts/prepare_dataset.py VIDEOS… -o DATASET
    accelerate launch --num_processes 8 scripts/prepare_dataset.py VIDEOS… -o DATASET --cache-latents weights/svd
    torchrun --nproc_per_node 8 scripts/prepare_dataset.py VIDEOS… -o DATASET       # without a GPU

VIDEOS are folders (searched for videos, and for picture folders as TikTok's 00001/images), video files, and .txt lists
of links as HumanVid and UBC publish them. Run it again at will: it goes on where it stopped, new videos are added, dead
links are tried again, a clip that was lost or cut short is made anew, a video that is no longer there keeps its clips.
See DATASET/summary.html and DATASET/manifest.jsonl for what was left out and why.
"""
from __future__ import annotations

if __name__ == "__main__":
    from runtime.terminal import interruptible

    interruptible()                     # also while the following is imported

import argparse
import logging
from collections import Counter
from contextlib import nullcontext
from dataclasses import asdict, fields
from datetime import timedelta
from pathlib import Path

import torch
from accelerate import PartialState
from tqdm import tqdm

from configs import run_main, show_log
from dwpose.choosing import detector_files, load_detector
from dwpose.draw import STYLES
from media.files import is_full_disk, locked
from mimicmotion.checkpoint import load_image_encoder, load_vae
from runtime.weights import weights_file
from training_data.folder import DataFolder, total_seconds, write_summary
from training_data.latents import cache_latents, LatentCache, LatentSettings, TARGETS
from training_data.preparing import Preparation, PrepareSettings, write_pose_videos
from training_data.shards import asked, write_shards
from training_data.sources import content_key, discover, PERSON_COLUMNS, read_table, TEXT_COLUMNS

WAITING = timedelta(days=30)            # for the process with the longest videos
SVD_PARTS = {"vae": "diffusion_pytorch_model", "image_encoder": "model"}       # folder -> name of its weights


def parsed_arguments() -> argparse.Namespace:
    """The command line; every field of PrepareSettings is an option."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog=__doc__.split("\n", 2)[2],
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="*", metavar="VIDEOS", help="folders, videos, lists of links")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DATASET", help="the data folder")
    parser.add_argument("--detector", default="auto",
                        help="auto (the best whose weights are here), dwpose, mediapipe, demo; or an ONNX person detector, with --keypoints")
    parser.add_argument("--keypoints", default="", help="ONNX whole-body pose network")
    parser.add_argument("--captions", type=Path, help=".csv, .jsonl or .json with a column file and a column caption "
                                                      "(and person, if known: no person is in both halves of a "
                                                      "validation split); a .txt beside a video needs no table")
    parser.add_argument("--keep-downloads", action="store_true", help="keep the whole videos behind links")
    parser.add_argument("--pose-videos", action="store_true", help="also write the drawn poses, in three kinds")
    parser.add_argument("--style", choices=sorted(STYLES), default="mimicmotion",
                        help="the brush of pose videos and pose latents (default: %(default)s)")
    parser.add_argument("--shards", metavar="URL", help="also write the clips, with cached latents, as shards into a folder "
                                                        "or object storage (s3://bucket/set): dataset=URL trains on them")
    group = parser.add_argument_group("what becomes a clip")
    for field in fields(PrepareSettings):
        group.add_argument(f"--{field.name.replace('_', '-')}", type=type(field.default), default=field.default,
                           metavar="N", help=f"{field.metadata['help']} (default: {field.default:g})")
    group = parser.add_argument_group("cached latents")
    group.add_argument("--cache-latents", type=Path, metavar="SVD",
                       help="encode all clips with this SVD folder's VAE and CLIP")
    group.add_argument("--size", type=int, nargs=2, default=(1024, 576), metavar=("HEIGHT", "WIDTH"),
                       help="the training canvas, pixels (default: 1024 576)")
    group.add_argument("--target", choices=TARGETS, default="video",
                       help="what is encoded; poses: what the skeleton adapter makes (default: %(default)s)")
    group.add_argument("--references", type=int, default=4,
                       help="reference pictures kept per clip (default: %(default)s)")
    group.add_argument("--noise-aug-strength", type=float, default=0.02,
                       help="noise on these pictures before the VAE, as in training (default: %(default)s)")
    arguments = parser.parse_args()
    if not (arguments.videos or arguments.cache_latents or arguments.pose_videos or arguments.shards):
        parser.error("expected VIDEOS, --cache-latents, --pose-videos or --shards (found none): nothing to do")
    return arguments


def check(arguments: argparse.Namespace) -> None:
    """What would fail only after the videos are cut."""
    if arguments.detector.endswith(".onnx") and not arguments.keypoints:
        raise ValueError("--keypoints: expected an ONNX whole-body pose network beside --detector (found none): name it, or "
                         "take --detector auto")
    if arguments.shards:
        if "://" not in arguments.shards and Path(arguments.shards).resolve() == arguments.output.resolve():
            raise ValueError(f"--shards {arguments.shards}: expected another folder than the data folder: name one")
        asked(arguments.shards, "exists")
    if arguments.cache_latents is None:
        return
    for part in SVD_PARTS:
        if not (arguments.cache_latents / part / "config.json").is_file():
            raise FileNotFoundError(f"--cache-latents {arguments.cache_latents}: expected an SVD folder in diffusers "
                                    f"format (found no {part}/config.json): fetch it with "
                                    "python scripts/download_weights.py svd")
    latent_settings(arguments)


def latent_settings(arguments: argparse.Namespace, **weights: str) -> LatentSettings:
    """What is asked for; weights: the networks' content, once it is known."""
    return LatentSettings(list(arguments.size), arguments.target, arguments.style, arguments.references,
                          arguments.noise_aug_strength, **weights)


def prepare(arguments: argparse.Namespace, folder: DataFolder, state: PartialState) -> None:
    """Cut this process's share of the videos; the main process then puts the manifest together."""
    settings = PrepareSettings(**{field.name: getattr(arguments, field.name) for field in fields(PrepareSettings)})
    sources = discover(arguments.videos, folder.path)
    captions, persons = ((read_table(arguments.captions, columns) for columns in (TEXT_COLUMNS, PERSON_COLUMNS))
                         if arguments.captions else ({}, {}))
    detector = load_detector(arguments.detector, arguments.keypoints, str(state.device),
                             num_threads=1 if state.num_processes > 1 else 0)
    if state.is_main_process:
        files = detector_files(arguments.detector, arguments.keypoints)
        networks = dict(zip(("detector", "keypoints"), map(content_key, files))) if len(files) == 2 else {
            file.stem: content_key(file) for file in files}
        folder.claim(asdict(settings) | networks)
    state.wait_for_everyone()
    preparation = Preparation(folder, detector, settings, captions, persons,
                              keep_downloads=arguments.keep_downloads)
    share = sources[state.process_index::state.num_processes]
    for source in tqdm(share, desc="preparing", unit="video", disable=not state.is_main_process):
        preparation(source)
    state.wait_for_everyone()
    if state.is_main_process:
        write_summary(folder, folder.write_manifest())
    state.wait_for_everyone()


def cache(arguments: argparse.Namespace, folder: DataFolder, clips: list[dict], state: PartialState) -> None:
    """Encode this process's share of the clips that have no latents yet."""
    svd, dtype = arguments.cache_latents, torch.bfloat16 if state.device.type == "cuda" else torch.float32
    vae = load_vae(svd / "vae", dtype, str(state.device)).eval()
    image_encoder = load_image_encoder(svd / "image_encoder", dtype, str(state.device)).eval()
    weights = {part: content_key(weights_file(svd / part, stem, torch.float16)) for part, stem in SVD_PARTS.items()}
    settings = latent_settings(arguments, **weights)
    latents = LatentCache(folder, arguments.target)
    if state.is_main_process:
        latents.claim(settings)
        latents.index(remove_damaged=True)
    state.wait_for_everyone()
    done = latents.index()
    left = [clip for clip in clips if clip["clip"] not in done]
    state.wait_for_everyone()                           # nobody writes before everybody has seen what is there
    cache_latents(folder, settings, left[state.process_index::state.num_processes], vae, image_encoder,
                  shown=state.is_main_process)
    state.wait_for_everyone()


def main() -> None:
    arguments = parsed_arguments()
    show_log()
    check(arguments)
    folder = DataFolder(arguments.output)
    state = PartialState(cpu=not torch.cuda.is_available(), timeout=WAITING)    # unasked, CPU processes are all alone
    with locked(folder.path, beside=True) if state.is_main_process else nullcontext():
        work(arguments, folder, state)


def work(arguments: argparse.Namespace, folder: DataFolder, state: PartialState) -> None:
    """All that the command line asks for; the only run that writes to the folder."""
    if state.is_main_process:
        folder.remove_partial_files()
    state.wait_for_everyone()
    try:
        if arguments.videos:
            prepare(arguments, folder, state)
        clips = folder.clips()
        share = clips[state.process_index::state.num_processes]
        if arguments.pose_videos:
            shown = tqdm(share, desc="drawing", unit="clip", disable=not state.is_main_process)
            write_pose_videos(folder, shown, arguments.style)
        if arguments.cache_latents:
            cache(arguments, folder, clips, state)
        if arguments.shards and state.is_main_process:
            write_shards(folder, arguments.shards)
    except Exception as error:
        if is_full_disk(error):
            raise ValueError(f"{folder.path}: no space left to write ({error}): make room and run the same command "
                             "again, what is done is kept") from error
        raise
    if state.is_main_process:
        left_out = len(folder.read_manifest()) - len(clips)
        logging.info("%s: %d clips, %.1f minutes; %d left out, see %s", folder.path, len(clips),
                     total_seconds(clips) / 60, left_out, folder.path / "summary.html")
        if not clips:
            reasons = Counter(f"{line['skip']} ({line['detail']})" if line["detail"] else line["skip"] for line in folder.read_manifest())
            told = "; ".join(f"{number} times {reason}" for reason, number in reasons.most_common(3))
            raise ValueError(f"{folder.path}: expected at least one clip (all {left_out} were left out: {told}): --help has the limits, "
                             "summary.html every reason")


if __name__ == "__main__":
    run_main(main)
