"""Importing does nothing but define things, and the packages only know whom they may know."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("planning", "t2m", "dwpose", "mimicmotion", "synthetic", "motionbench", "stages", "training_data", "configs", "scripts", "tests")
ROOT_SCRIPTS = {path.stem for path in ROOT.glob("*.py")}
MAY_IMPORT = {                                       # package -> other local packages or modules it may import
    "configs": set(),
    "dwpose": set(),
    "mimicmotion": set(),
    "planning": set(),
    "t2m": {"dwpose.skeleton"},
    "synthetic": {"t2m", "dwpose"},
    "motionbench": {"t2m", "dwpose", "mimicmotion", "synthetic"},
    "training_data": {"dwpose", "mimicmotion"},
    "stages": {"t2m", "dwpose", "mimicmotion", "llm_planner"},      # what surrounds the stages of inference.py
}
LIBRARIES = [path for package in MAY_IMPORT for path in sorted((ROOT / package).glob("*.py"))]
MODULES = [path for path in [*sorted(ROOT.glob("*.py")), *LIBRARIES]]


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path) -> set[str]:
    """Every module a file imports, relative names made absolute."""
    package, names = dotted(path).split(".")[0], set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = f"{package}.{node.module or ''}".rstrip(".") if node.level else node.module
            names |= {f"{base}.{alias.name}" for alias in node.names} if base in PACKAGES else {base}
    return names


@pytest.mark.parametrize("path", LIBRARIES, ids=dotted)
def test_a_package_imports_only_whom_it_may_know(path):
    package = dotted(path).split(".")[0]
    for name in imports(path):
        top = name.split(".")[0]
        if top != package and (top in PACKAGES or top in ROOT_SCRIPTS):
            assert any(name == allowed or name.startswith(f"{allowed}.") for allowed in MAY_IMPORT[package]), f"{dotted(path)} imports {name}"


WATCH = """
import builtins, importlib, os, random, socket, sys, warnings
import cv2, diffusers.models.activations, numpy, onnxruntime, torch, tqdm, transformers, omegaconf, scipy.ndimage, PIL.Image, av, psutil, accelerate, safetensors, yaml

effects, root = [], sys.argv[1]
def is_ours(code):                                    # the virtual environment lies below the root, too
    return code.co_filename.startswith(root + os.sep) and "site-packages" not in code.co_filename
real_open = builtins.open
def opened(file, mode="r", *rest, **named):
    if is_ours(sys._getframe(1).f_code) or (isinstance(file, (str, os.PathLike)) and set(mode) & set("wax+")):
        effects.append(f"open {file} {mode}")
    return real_open(file, mode, *rest, **named)
def state():
    return (torch.get_default_dtype(), torch.backends.cuda.matmul.allow_tf32, torch.get_num_threads(), torch.initial_seed(), torch.is_grad_enabled(),
            numpy.random.get_state()[1].tobytes(), random.getstate(), dict(os.environ), len(__import__("logging").getLogger().handlers),
            diffusers.models.activations.GEGLU.forward, cv2.getNumThreads(), os.getcwd())
class Loud:
    def write(self, text): effects.append(f"print {text!r}")
    def flush(self): pass
before = state()
builtins.open, out, sys.stdout = opened, sys.stdout, Loud()
real_filter = warnings.filterwarnings
def filtered(*rest, **named):
    if is_ours(sys._getframe(1).f_code):
        effects.append("warnings filter")
    return real_filter(*rest, **named)
warnings.filterwarnings = filtered
onnxruntime.InferenceSession = lambda *a, **k: effects.append("session")
socket.socket.connect = lambda *a: effects.append("connect")
for name in sys.argv[2:]:
    sys.stderr.write(name + "\\n")
    importlib.import_module(name)
builtins.open, sys.stdout = real_open, out
after = state()
effects += [f"state {i}" for i, (a, b) in enumerate(zip(before, after)) if a != b]
print(effects)
"""


def test_importing_everything_prints_opens_patches_and_sets_nothing():
    done = subprocess.run([sys.executable, "-c", WATCH, str(ROOT), *map(dotted, MODULES)], capture_output=True, text=True, cwd=ROOT, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "[]", done.stderr[-500:]


def test_no_file_is_a_drawer_for_odds_and_ends():
    for path in MODULES:
        assert path.stem not in ("utils", "util", "common", "misc", "helpers", "types"), path


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_files_and_functions_stay_short(path):
    source = path.read_text()
    limit = 200 if path.parent == ROOT and path.name != "finer_scale.py" else 300
    assert len(source.splitlines()) <= limit
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 80, f"{node.name} has {node.end_lineno - node.lineno + 1} lines"


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_nothing_loads_loosely_or_swallows_errors(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"bare except in line {node.lineno}"
            assert not (len(node.body) == 1 and isinstance(node.body[0], ast.Pass)), f"error swallowed in line {node.lineno}"
        if isinstance(node, ast.Call):
            for keyword in node.keywords:
                value = keyword.value.value if isinstance(keyword.value, ast.Constant) else None
                assert not (keyword.arg == "strict" and value is False), f"strict=False in line {node.lineno}"
                assert not (keyword.arg == "weights_only" and value is False), f"weights_only=False in line {node.lineno}"
