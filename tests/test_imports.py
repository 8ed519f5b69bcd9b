"""Importing does nothing but define things, and the packages only know whom they may know."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAY_IMPORT = {                                       # room -> other local rooms or modules it may import
    "media": set(),
    "configs": {"media.files", "runtime.terminal"},
    "runtime": {"media"},
    "training": {"media", "runtime", "configs"},
    "planning": set(),
    "dwpose": {"media", "runtime", "configs"},
    "t2m": {"dwpose.skeleton", "media", "runtime", "training", "configs"},
    "mimicmotion": {"media", "runtime", "training", "configs"},      # frames, never joints
    "musepose": {"media", "runtime", "training", "configs"},
    "puppet": {"dwpose.skeleton", "media"},
    "newmove": {"media", "runtime", "training", "configs"},
    "training_data": {"dwpose", "media", "runtime", "configs", "mimicmotion.latents"},
    "synthetic": {"t2m", "dwpose", "media", "runtime", "training_data.folder"},
    "renderers": {"mimicmotion", "musepose", "puppet", "dwpose", "media", "runtime", "configs", "run.settings"},
    "run": {"renderers", "t2m", "dwpose", "mimicmotion", "media", "runtime", "configs", "llm_planner", "planning"},
    "motionbench": {"run", "planning.chat", "inference", "synthetic", "t2m", "dwpose", "mimicmotion.latents", "mimicmotion.diffusion", "media", "runtime", "configs", "renderers"},
    "webapp": {"inference", "run", "renderers", "t2m", "dwpose", "media", "runtime", "configs", "llm_planner"},
}
OPEN_ROOMS = ("benchmarks", "demo", "scripts", "comfyui")             # may import everything; nothing imports the last three and tests
ROOMS = [room for room in (*MAY_IMPORT, *OPEN_ROOMS) if (ROOT / room).is_dir()]
LOCAL = {*MAY_IMPORT, *OPEN_ROOMS, "tests"}
ROOT_SCRIPTS = {path.stem for path in ROOT.glob("*.py")}
LIBRARIES = [path for room in MAY_IMPORT for path in sorted((ROOT / room).glob("*.py"))]
MODULES = [*sorted(ROOT.glob("*.py")), *(path for room in ROOMS for path in sorted((ROOT / room).glob("*.py")))]


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
            names |= {f"{base}.{alias.name}" for alias in node.names} if base in LOCAL else {base}
    return names


@pytest.mark.parametrize("path", LIBRARIES, ids=dotted)
def test_a_package_imports_only_whom_it_may_know(path):
    package = dotted(path).split(".")[0]
    for name in imports(path):
        top = name.split(".")[0]
        if top != package and (top in LOCAL or top in ROOT_SCRIPTS):
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
def test_functions_stay_short_and_nothing_edits_the_search_path(path):
    source = path.read_text()
    assert "sys.path" not in source, "pip install -e . makes the rooms importable"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert node.end_lineno - node.lineno < 60, f"{node.name} has {node.end_lineno - node.lineno + 1} lines"


@pytest.mark.parametrize("path", [path for path in MODULES if "    run_main(" in path.read_text()], ids=dotted)
def test_a_command_can_be_stopped_from_its_first_import_on(path):
    body = [node for node in ast.parse(path.read_text()).body if not isinstance(node, ast.Expr)]
    if getattr(body[0], "module", None) == "__future__":
        body.pop(0)
    assert ast.unparse(body[0]).splitlines() == ["if __name__ == '__main__':", "    from runtime.terminal import interruptible", "    interruptible()"]


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_a_constant_is_given_its_value_once(path):
    given = [target.id for node in ast.parse(path.read_text()).body if isinstance(node, ast.Assign)
             for each in node.targets for target in ast.walk(each) if isinstance(target, ast.Name) and isinstance(target.ctx, ast.Store) and target.id.isupper()]
    again = {name for name in given if given.count(name) > 1}
    assert not again, f"{dotted(path)} gives {', '.join(sorted(again))} another value"


def test_every_room_and_root_script_is_installed():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert sorted(project["packages"]) == sorted(ROOMS)
    assert sorted(project["py-modules"]) == sorted(ROOT_SCRIPTS)


def test_nothing_imports_a_script_a_test_or_the_demos_making():
    for path in MODULES:
        own = dotted(path).split(".")[0]
        for name in imports(path):
            assert name.split(".")[0] not in {"scripts", "tests", "demo", "app"} - {own} or own in ("scripts", "demo", "benchmarks"), f"{dotted(path)} imports {name}"


def opened(path: Path) -> set[str]:
    """What a file imports when it is imported itself: not what its functions import, nor what is only for type checkers."""
    def top(node: ast.AST):
        for child in ast.iter_child_nodes(node):
            if not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)) and ast.unparse(getattr(child, "test", child)) != "TYPE_CHECKING":
                yield child
                yield from top(child)

    names = set()
    for node in top(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names | {name.partition(".")[0] for name in names}


@pytest.mark.parametrize("entries, at_most", [
    (("train_video_generation", "mimicmotion.task", "mimicmotion.pipeline", "training.loop"), 40), (("inference",), 55)])
def test_a_reader_of_one_command_opens_few_files(entries, at_most):
    """entries: a script, and what it imports only once its settings are known to be right."""
    files, reached, ahead = {dotted(path): path for path in MODULES}, set(), list(entries)
    while ahead:
        name = ahead.pop()
        if name in files and name not in reached:
            reached.add(name)
            ahead += opened(files[name])
    assert 25 < len(reached) <= at_most


def test_a_training_script_has_imported_no_network_before_its_settings_are_read():
    code = "import sys, train_musepose, train_skeleton_adapter, train_video_generation; print({'torch', 'diffusers', 'transformers'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=300, check=True)
    assert done.stdout.strip() == "set()"


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
