"""What loading costs in memory: the largest file once, and a little."""
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

MEMORY = """
import sys
from pathlib import Path
import torch
from safetensors.torch import save_file
from mimicmotion.checkpoint import load_video_model
from mimicmotion.networks import PoseNet
from mimicmotion.networks import PoseUNet
from demo.init_models import unet_config
from t2m.networks import GPT
from t2m.weights import load_strictly

folder = Path(sys.argv[1])
with torch.device("meta"):
    unet, pose_net, gpt = PoseUNet(**unet_config((320, 512), (False, True), (1, 1))), PoseNet(320), GPT(width=512, num_layers=6)
(folder / "unet").mkdir()
unet.save_config(folder / "unet")
tensors = {f"{part}.{name}": torch.zeros(tensor.shape, dtype=torch.half) for part, module in
           (("unet", unet), ("pose_net", pose_net)) for name, tensor in module.state_dict().items()}
save_file(tensors, folder / "model.safetensors")
torch.save(tensors, folder / "model.pth")
zeros = {name: torch.zeros(tensor.shape) for name, tensor in gpt.state_dict().items()}
torch.save({"trans": zeros}, folder / "gpt.pth")
del tensors, zeros

def kibibytes(key):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(key))

def growth(path, load):
    open("/proc/self/clear_refs", "w").write("5")                     # the peak is measured from here
    before = kibibytes("VmRSS")
    for module in load():
        assert not any(p.flatten()[::512].any() for p in module.parameters())        # touches every page
    print(path.name, (kibibytes("VmHWM") - before) * 1024 / path.stat().st_size)

for dtype in (torch.float16, torch.bfloat16):
    for name in ("model.safetensors", "model.pth"):
        growth(folder / name, lambda: load_video_model(folder, folder / name, dtype))
growth(folder / "gpt.pth", lambda: [load_strictly(gpt, folder / "gpt.pth")])
"""


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="reads Linux's peak of a process")
def test_loading_takes_at_most_a_fifth_more_memory_than_the_file(tmp_path):
    settings = {"PYTHONPATH": str(ROOT), "MALLOC_MMAP_THRESHOLD_": "65536"}          # what is freed is given back
    done = subprocess.run([sys.executable, "-c", MEMORY, tmp_path], capture_output=True, text=True, cwd=ROOT,
                          timeout=600, env=os.environ | settings)
    assert done.returncode == 0, done.stderr[-2000:]
    ratios = [float(line.split()[1]) for line in done.stdout.splitlines()]
    assert len(ratios) == 5 and all(0.9 < ratio < 1.2 for ratio in ratios), done.stdout
