"""What happens behind the page's buttons, in plain values: no Gradio here, so that tests and other pages can use it.

A view is a dict: name of a part of the page -> what it shows now; None empties it, and a part that is not named stays.
A session is what one browser keeps: {"run", "job", "pictures", "planned"}. It comes from outside, so it only ever chooses
among what is there.
"""
from __future__ import annotations

import hashlib
import os
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image

from llm_planner import Segment, segments_from_json
from media.files import one_line, save_atomically
from media.images import is_damaged_jpeg, jpeg_link, read_image
from run.models import render_cost
from run.settings import InferenceConfig
from run.storyboard import write_settings
from runtime.device import GIB
from runtime.published_weights import GROUPS
from t2m.motion import Motion, PARENTS
from webapp import runs
from webapp.jobs import DONE, FAILED, Job, Jobs, STOPPED, WAITING
from webapp.making import assignments, limited, plan_rows, planned, preset_of, PRESETS, setting_rows, why_not, Workshop
from webapp.safety import check_length, checked_picture, checked_plan, checked_prompt, checked_video
from webapp.weights import fetch_weights, ROOT

STAGES = dict.fromkeys(("person", "people", "reference"), "Finding the person") | {
    "plan": "Planning the actions", "motion": "From text to 3D motion", "skeleton": "Fitting the skeleton to the person", "preview": "Puppet preview",
    "price": "What a render takes", "poses": "Drawing hands (skeleton adapter)", "video": "Making the video", "outputs": "Storyboard"}
KEPT = "What is finished is kept: press again to go on."
UPLOAD_SECONDS = 3600              # without a byte more, after which an upload was aborted
VIEWER_FRAMES = 150                # of the turnable motion; longer ones are thinned
EMPTY = ("<div class='card quiet'><b>Three steps to a video</b><ol><li>Drop a picture of a person, head to feet, or take an example.</li>"
         "<li>Say what the person does.</li><li>Press <i>Preview</i>: plan, skeleton and a puppet come in seconds. Then <i>Render</i>.</li></ol></div>")


@dataclass(frozen=True)
class Wish:
    """What one browser asks for. Everything in it comes from outside."""
    picture: str | None = None     # a file that was uploaded
    prompt: str = ""
    driving: str | None = None     # a file that was uploaded
    preset: str = "puppet"
    rows: list = field(default_factory=list)       # the plan's table
    values: dict = field(default_factory=dict)     # settings by key


class Desk:
    """One server's runs and jobs."""

    def __init__(self, outputs: Path, served: Path):
        """outputs: the folder of all runs; served: a folder on the same disk from which the page's files are served."""
        self.outputs, self.served = outputs, served
        self.jobs = Jobs("preview", "render", "fetch")
        self.workshops = {"preview": Workshop(), "render": Workshop()}

    def begin(self, title: str, wish: Wish, session: dict) -> dict:
        """Checks a wish and queues it as a preview or a render; the new session."""
        preset = PRESETS.get(wish.preset)
        if preset is None:
            raise ValueError("model: expected one of the list")
        if not wish.picture:
            raise ValueError("picture: is missing: drop one, or take an example")
        picture, changes = checked_picture(wish.picture), assignments(preset, wish.values)
        driving = checked_video(wish.driving) if wish.driving else None
        prompt = wish.prompt.strip() if driving else checked_prompt(wish.prompt)
        is_same_prompt = session.get("planned") == prompt
        segments = (checked_plan(wish.rows) if is_same_prompt and not driving else []) or None        # None: the prompt's own plan
        seen = digest(picture)
        name = self.run_of(session, seen) or runs.new_name()
        folder = self.outputs / name
        where = [f"image={folder / runs.PICTURE}", f"prompt={prompt}", f"name={name}", f"outputs={self.outputs}",
                 *([f"driving_video={folder / runs.DRIVING}"] if driving else [])]
        config = limited(preset.config(*changes, *where, "resume=true"))
        if not driving:
            check_length(segments or planned(config), config.fps)
        if other := self.jobs.working_on(name):
            raise ValueError(f"this run: a {other.title} is under way: stop it, or wait for its end")
        is_new = not folder.exists()
        work = self.previewed if title == "preview" else self.workshops["render"].render

        def unless_refused(job: Job) -> None:
            """A new folder does not stay where there is nobody in the picture, or the work is refused even before that is known."""
            try:
                work(job, config, segments)
            except (ValueError, FileNotFoundError):
                if is_new and not any((folder / file).is_file() for file in ("reference.npz", "person.npz")):
                    shutil.rmtree(folder, ignore_errors=True)
                raise

        self.remove_aborted_uploads()
        try:
            self.store(folder, picture, driving)
            write_settings(config, folder)
            job = self.jobs.submit(title, title, name, unless_refused)
        except (ValueError, OSError):
            if is_new:
                shutil.rmtree(folder, ignore_errors=True)
            raise
        return {"run": name, "job": job.key, "pictures": [seen, digest(folder / runs.PICTURE)], "planned": prompt}

    def previewed(self, job: Job, config: InferenceConfig, segments: list[Segment] | None) -> None:
        """A preview, and the price of the render."""
        self.workshops["preview"].preview(job, config, segments)
        job.enter("price")
        why_not(config, runs.frames_of(config.folder))                  # slow the first time: not while the page waits

    def run_of(self, session: dict, seen: str) -> str | None:
        """The session's run, where it is still there and its picture is the one of the wish."""
        known = session.get("pictures")
        run = runs.run_named(self.outputs, session.get("run")) if isinstance(known, list) and seen in known else None
        return run and run.name

    def remove_aborted_uploads(self) -> None:
        """Deletes what is left of uploads that ended before they were whole; Gradio knows only of whole ones."""
        for partial in self.served.glob("tmp*"):
            with suppress(FileNotFoundError):                # another wish has just deleted it
                if time.time() - partial.stat().st_mtime > UPLOAD_SECONDS:
                    partial.unlink()

    def store(self, folder: Path, picture: Path, driving: Path | None) -> None:
        """The uploads under names of ours; the picture is written anew, so that nothing but pixels stays of it."""
        pixels = pixels_of(picture)
        folder.mkdir(parents=True, exist_ok=True)
        save_atomically(folder / runs.PICTURE, lambda partial: Image.fromarray(pixels).save(partial, "PNG"))
        if driving:
            save_atomically(folder / runs.DRIVING, lambda partial: shutil.copyfile(driving, partial))

    def plan(self, prompt: object, preset: str) -> list[list[str]]:
        """The prompt's plan as rows of the table."""
        config = PRESETS[preset if preset in PRESETS else "puppet"].config(f"prompt={checked_prompt(prompt)}")
        return plan_rows(config, planned(config))

    def go_on(self, name: object) -> dict:
        """Queues the render of a listed run with its own settings: only what is missing or changed is made."""
        run = runs.find_run(self.outputs, name)
        config = limited(runs.settings_of(run))
        job = self.jobs.submit("render", "render", run.name, lambda job: self.workshops["render"].render(job, config))
        return self.session_of(run, job.key)

    def session_of(self, run: runs.Run, job: str = "") -> dict:
        picture = run.path / runs.PICTURE
        return {"run": run.name, "job": job, "pictures": [digest(picture)] if picture.is_file() else [], "planned": run.prompt}

    def delete(self, name: object) -> None:
        run = runs.find_run(self.outputs, name)
        if other := self.jobs.working_on(run.name):
            raise ValueError(f"{run.name}: a {other.title} is under way: stop it first")
        runs.delete_run(run)

    def poll(self, session: dict) -> tuple[str | None, bool]:
        """The status card of the session's job, None for a job of an earlier server, and whether to ask again."""
        job = self.jobs.find(session.get("job"))
        if job is None:
            return None, False
        is_over = job.is_over                              # before the card, which then tells all of a job that is over
        return self.status(job), not is_over

    def ended(self, session: dict) -> dict:
        """View of the session's run once its job is over."""
        job = self.jobs.find(session.get("job"))
        told = self.status(job) if job else card("quiet", "The server was started anew", KEPT)
        return self.shown(session.get("run")) | {"status": told}

    def status(self, job: Job) -> str:
        """The job as a card of HTML: everything in it is escaped."""
        if job.state == WAITING:
            before = self.jobs.place(job)
            return card("busy", f"Waiting: {before} before you" if before else "Starting", "It goes on by itself. You may close this page.")
        if job.state == STOPPED:
            return card("quiet", "Stopped", KEPT)
        if job.state == FAILED:
            return card("bad", "This did not work", job.message)
        if job.state == DONE:
            return card("good", f"{job.title.capitalize()} done", f"{job.seconds:.0f} s")
        name, done, total = job.step
        known = STAGES.get(job.stage) or ("A further pass" if job.stage.startswith(("seen", "refined")) else job.title.capitalize())
        left = f" · about {length(job.seconds_left)} left" if job.seconds_left else ""
        step = f"{name}: {done:,} of {total:,} · " if total else ""
        return card("busy", known, f"{step}{job.seconds:.0f} s{left}", done / total if total else 0.0, newest(job.frame) if job.title == "render" else "")

    def shown(self, name: object) -> dict:
        """The view of a listed run: every part that its folder has."""
        try:
            run = runs.find_run(self.outputs, name)
        except ValueError:
            return dict.fromkeys(("preview", "video", "storyboard", "files", "command", "cost", "motion", "warnings"))
        videos = {part: self.serve(run.path / file) for part, file in
                  (("preview", runs.PREVIEW), ("video", "video.mp4"), ("storyboard", "storyboard.png"))}
        view = videos | {"files": [self.serve(path) for path in runs.downloads(run)] or None, "warnings": warnings_card(runs.warnings_of(run.path))}
        try:
            config = runs.settings_of(run)
            return view | {"plan": plan_of(run, config), "motion": motion_value(run.path / "motion.npz"),
                           "command": runs.command_line(near(run.path / "run.yaml"), ["resume=true"]), "cost": self.cost(config, runs.frames_of(run.path))}
        except (ValueError, OSError) as error:
            reason = one_line(str(error).replace(str(self.outputs), self.outputs.name))
            return view | {"plan": None, "motion": None, "command": None, "cost": card("bad", "An older run", reason)}

    def cost(self, config: InferenceConfig, num_frames: int) -> str | None:
        """What a render with these settings takes, as a card; None before there is a skeleton."""
        if not num_frames:
            return None
        if reason := why_not(config, num_frames):
            return card("bad", "This model cannot render here", reason)
        seconds, memory = render_cost(config, num_frames)
        earlier, judged = runs.expected_cost(self.outputs, config, num_frames), "by the renderer's own measure, on a slow core"
        if earlier:
            seconds, judged = earlier.seconds, f"by {earlier.runs} like it on this machine, whose process held {earlier.memory / GIB:.1f} GiB"
        price = [f"about {length(seconds)}" if seconds else "seconds are known after its first step", *([f"{memory / GIB:.1f} GiB"] if memory else [])]
        return card("quiet", f"Render: {', '.join(price)}", f"{num_frames} frames of {config.height}x{config.width}, judged {judged}.")

    def price(self, session: dict, preset: object, values: dict) -> str | None:
        """The cost of a render of the session's run with another choice of renderer and settings; None before there is a skeleton."""
        run = runs.run_named(self.outputs, session.get("run"))
        if run is None or preset not in PRESETS:
            return None
        config = PRESETS[preset].config(*assignments(PRESETS[preset], values))
        return self.cost(config, runs.frames_of(run.path, config.fps))

    def opened(self, name: object) -> tuple[dict, dict]:
        """Session and view of a run that was chosen in the list: its picture, text and settings, to change and go on.

        Beside the parts of the page the view then has "preset" and "values", the settings by key, where the run fits one.
        """
        run = runs.find_run(self.outputs, name)
        view, session = self.shown(run.name) | {"status": card("quiet", "Opened", run.label)}, self.session_of(run)
        try:
            config = runs.settings_of(run)
        except ValueError:
            return session, view                              # the view says why
        picture = next((path for path in (run.path / runs.PICTURE, Path(config.image)) if is_usable(path)), None)
        view |= {"picture": self.serve(picture) if picture else None, "prompt": config.prompt,
                 "driving": self.serve(run.path / runs.DRIVING)}
        if preset := preset_of(config):
            view |= {"preset": preset, "values": {key: value for key, value, *_ in setting_rows(config)}}
        session |= {"pictures": [digest(picture)] if picture else [], "planned": config.prompt.strip()}
        return session, view

    def serve(self, path: Path) -> str | None:
        """The file under an address of its own in the served folder: a link, so no second copy; None where it is gone."""
        if not path.is_file():
            return None
        stat = path.stat()
        place = self.served / hashlib.sha256(f"{path.resolve()} {stat.st_mtime_ns} {stat.st_size}".encode()).hexdigest()[:24] / path.name
        if not place.is_file():
            place.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(path, place)
            except FileExistsError:
                return str(place)                          # another page asked at the same time
            except OSError:
                shutil.copyfile(path, place)               # the file is on another disk
        return str(place)

    def fetch(self, group: object) -> Job:
        """Queues the download of one group of weights."""
        if group not in GROUPS:
            raise ValueError("weights: expected one of the list")
        return self.jobs.submit("fetch", f"fetching {group}", "", lambda job: fetch_weights(job, str(group)))

    def fetching(self) -> Job | None:
        """The download under way, whoever asked for it."""
        return next(iter(self.jobs.lanes["fetch"].unfinished()), None)


def pixels_of(picture: str | Path) -> np.ndarray:
    """An uploaded picture, (H, W, 3) uint8 RGB; ValueError where a part of it is missing."""
    try:
        return read_image(picture)
    except ValueError as error:
        raise ValueError(f"picture: {str(error).removeprefix(f'{picture}: ')}") from None


def doubt_about(picture: str | Path) -> str | None:
    """What is wrong with an uploaded picture that can be used all the same; ValueError where it cannot."""
    pixels_of(picture)
    return "picture: the file is damaged, and what it shows may be wrong: copy it again" if is_damaged_jpeg(picture) else None


def is_usable(picture: Path) -> bool:
    """Whether the page takes the picture of a run that it did not make."""
    try:
        checked_picture(picture)
    except ValueError:
        return False
    return True


def card(kind: str, title: str, text: str = "", share: float | None = None, below: str = "") -> str:
    """A card of HTML; title and text are escaped, `below` is HTML already."""
    bar = "" if share is None else f"<div class='bar'><div style='width:{100 * min(max(share, 0), 1):.0f}%'></div></div>"
    return f"<div class='card {kind}'><b>{escape(title)}</b><div>{escape(text)}</div>{bar}{below}</div>"


def newest(frame: np.ndarray | None) -> str:
    """The newest frame (h, w, 3) uint8 of a video that is being made, in a place that is kept from the beginning."""
    if frame is None:
        return "<div class='newest'></div>"
    return f"<div class='newest'><img alt='newest frame' src='{jpeg_link(frame, 85)}'></div>"


def warnings_card(warnings: list[str]) -> str | None:
    """What the stages found doubtful, one line each."""
    if not warnings:
        return None
    items = "".join(f"<li>{escape(warning)}</li>" for warning in dict.fromkeys(warnings))
    return f"<div class='card warn'><b>Worth a look</b><ul>{items}</ul></div>"


def plan_of(run: runs.Run, config: InferenceConfig) -> list[list[str]] | None:
    """plan.json of a run as rows; None where there is none."""
    file = run.path / "plan.json"
    if config.driving_video or not file.is_file():
        return None
    return plan_rows(config, segments_from_json(file.read_text(encoding="utf-8")))


def motion_value(path: Path) -> dict | None:
    """The 3D motion for the page's viewer: joints in centimetres, (T, 22, 3)."""
    if not path.is_file():
        return None
    try:
        motion = Motion.load(path)
    except ValueError:
        raise ValueError(f"{path.name}: expected a motion of this version (found another file): delete it, and go on") from None
    step = max(1, -(-len(motion) // VIEWER_FRAMES))
    joints = np.round(motion.joints[::step] * 100).astype(int)
    return {"joints": joints.tolist(), "fps": motion.fps / step, "parents": list(PARENTS)}


def reports_in(outputs: Path) -> list[str]:
    """Names of MotionBench's runs that have a report, the newest first."""
    files = sorted((outputs / "motionbench").glob("*/report.html"), key=lambda file: file.stat().st_mtime, reverse=True)
    return [file.parent.name for file in files]


def report_frame(outputs: Path, name: object) -> str:
    """A report in a frame of its own, in which no script runs."""
    if name not in reports_in(outputs):
        return card("quiet", "No report yet", "bash scripts/eval_motionbench.sh measures a checkpoint; its report is then shown here.")
    page = (outputs / "motionbench" / str(name) / "report.html").read_text(encoding="utf-8")
    return f"<iframe class='report' sandbox='' srcdoc=\"{escape(page)}\"></iframe>"


def length(seconds: float) -> str:
    """A duration in words."""
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def near(path: Path) -> str:
    """A path as somebody in this repository would type it."""
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
