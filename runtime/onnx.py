"""Opening an ONNX file on the asked device, with its batch axis and contract checked once."""
from __future__ import annotations

import logging
import os
from functools import cache
from pathlib import Path

import numpy as np
import onnxruntime

log = logging.getLogger(__name__)

CHANNEL_ORDERS = ("rgb", "bgr")


class OnnxModel:
    """One ONNX network with one image input; runs any number of images, in one call where its batch axis is dynamic."""

    def __init__(self, session: onnxruntime.InferenceSession, path: Path, channel_order: str = "rgb"):
        if channel_order not in CHANNEL_ORDERS:
            raise ValueError(f"channel order: expected rgb or bgr (found {channel_order!r})")
        image = session.get_inputs()[0]
        if len(session.get_inputs()) != 1 or len(image.shape) != 4:
            raise ValueError(f"{path}: expected one image input (N, 3, H, W) (found {image.name} {image.shape})")
        self.session, self.path, self.channel_order = session, path, channel_order
        self.input_name, self.input_shape = image.name, image.shape
        self.dynamic_batch = not isinstance(image.shape[0], int)

    @classmethod
    def load(cls, path: str | os.PathLike, device: str = "cpu", num_threads: int = 0, channel_order: str = "rgb"):
        """device: cpu, cuda or cuda:N. num_threads: CPU threads, 0 = as many as there are cores."""
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such ONNX file: python scripts/download_weights.py dwpose fetches the published ones")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_threads
        options.log_severity_level = 3
        try:
            session = onnxruntime.InferenceSession(os.fspath(path), options, providers=providers(str(device)))
        except Exception as error:      # onnxruntime's own exceptions share no public base class
            raise ValueError(f"{path}: expected an ONNX network ({error}): download it again") from error
        if str(device).startswith("cuda") and "CUDAExecutionProvider" not in session.get_providers():
            warn_once("onnxruntime: CUDA was asked for, poses are detected on the CPU: install onnxruntime-gpu "
                       "(requirements-gpu.txt) in place of onnxruntime, and the CUDA and cuDNN libraries it names")
        return cls(session, path, channel_order)

    def ordered(self, image: np.ndarray, axis: int = -1) -> np.ndarray:
        """A view of an image, RGB along `axis`, in the channel order the network was asked to see."""
        return image if self.channel_order == "rgb" else np.flip(image, axis)

    def run(self, images: np.ndarray) -> list[np.ndarray]:
        """images: (N, 3, H, W) float32. Returns the outputs, each with N rows."""
        if self.dynamic_batch or len(images) == 1:
            return self.session.run(None, {self.input_name: images})
        runs = [self.session.run(None, {self.input_name: images[i:i + 1]}) for i in range(len(images))]
        return [np.concatenate(outputs) for outputs in zip(*runs)]


@cache
def warn_once(message: str) -> None:
    """One line in the life of the program, however many networks it holds for."""
    log.warning(message)


def providers(device: str) -> list:
    """ONNX Runtime providers for a torch-like device name. Published code asks for CUDA on every device; we do not."""
    kind, _, index = device.partition(":")
    if kind not in ("cpu", "cuda") or (index and not index.isdigit()):
        raise ValueError(f"device: expected cpu, cuda or cuda:N (found {device!r})")
    if kind == "cpu":
        return ["CPUExecutionProvider"]
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        return ["CPUExecutionProvider"]
    return [("CUDAExecutionProvider", {"device_id": int(index or 0)}), "CPUExecutionProvider"]
