"""The page itself, in Gradio's Blocks: parts, and which function of the desk each button calls. Nothing is worked out here."""
import logging
from abc import ABCMeta
from collections.abc import Callable
from functools import wraps
from pathlib import Path

from webapp import desk as views
from webapp import runs
from webapp.desk import Desk, Wish
from webapp.making import PRESETS, setting_rows, SETTINGS
from webapp.safety import checked_picture, checked_video, MAX_SEGMENTS
from webapp.weights import weights_table
from media.files import one_line
from runtime.published_weights import GROUPS

log = logging.getLogger(__name__)

ROOM, ROOT = Path(__file__).parent, Path(__file__).parents[1]
POLL_SECONDS = 0.7
CACHE_SECONDS = 24 * 3600          # for which an upload or a shown file stays, at least
EXAMPLES = ("assets/person_large.png", "assets/person.png")
PROMPT = "A person waves with the right hand, then does a squat."
STORAGE = dict(storage_key="fleximo", secret="not a secret: what a browser keeps is checked again")
SHOW_STATUS = "() => { document.querySelector('#status').scrollIntoView({behavior: 'smooth', block: 'nearest'}); }"
VIDEO_TYPES = [".mp4", ".mov", ".webm", ".mkv", ".avi"]


def kept(session: object) -> dict:
    """The session that a browser keeps; a new one where it sends anything else."""
    return session if isinstance(session, dict) else {}


def build_page(desk: Desk):
    """The whole page, as gr.Blocks that nobody has launched yet."""
    import gradio as gr

    with gr.Blocks(title="Picture and text to video", analytics_enabled=False, fill_width=True, delete_cache=(3600, CACHE_SECONDS)) as page:
        Page(gr, desk, page).build()
    return page


class Page:
    """All parts by name, and what joins them."""

    def __init__(self, gr, desk: Desk, blocks):
        self.gr, self.desk, self.blocks = gr, desk, blocks
        self.parts: dict = {}                       # name in a view -> component
        self.settings: dict = {}                    # key of a setting -> component

    def build(self) -> None:
        gr = self.gr
        gr.HTML("<h1>Picture + text → video</h1><p>A photograph of a person does what you write. Everything stays on this machine.</p>", elem_id="title")
        self.session = gr.BrowserState({}, **STORAGE)
        self.timer, self.end_timer = gr.Timer(POLL_SECONDS, active=False), gr.Timer(0.1, active=False)      # asks how a job is; asks once for what it made
        with gr.Tabs() as self.tabs:
            with gr.Tab("Make", id="make"), gr.Row():
                with gr.Column(min_width=300, scale=4):
                    self.wish_column()
                with gr.Column(min_width=300, scale=6):
                    self.result_column()
            with gr.Tab("Runs", id="runs") as self.runs_tab:
                self.runs_column()
            with gr.Tab("Weights", id="weights") as weights_tab:
                self.weights_column(weights_tab)
            with gr.Tab("Measure", id="measure") as measure_tab:
                self.measure_column(measure_tab)
        self.join()

    # parts

    def wish_column(self) -> None:
        gr, parts = self.gr, self.parts
        parts["picture"] = self.uploaded(gr.Image, checked_picture)(label="A person, head to feet", type="filepath", height=320, elem_id="picture",
                                                                     sources=["upload", "webcam", "clipboard"], buttons=[])
        gr.Examples([str(ROOT / name) for name in EXAMPLES], parts["picture"], label="Or take one of these")
        parts["prompt"] = gr.Textbox(PROMPT, label="What the person does", lines=3, elem_id="prompt")        # no max_length: a browser cuts off what is pasted, and says nothing
        self.preset = gr.Dropdown([(preset.title, name) for name, preset in PRESETS.items()], value="puppet", label="Renderer", elem_id="preset", info="Its price is shown before you render.")
        with gr.Row():
            self.plan_button = gr.Button("Plan", elem_id="plan-button", min_width=80, scale=1)
            self.preview_button = gr.Button("Preview", variant="primary", elem_id="preview-button", min_width=120, scale=2)
        with gr.Accordion("The movement of a video instead of a text", open=False):
            parts["driving"] = self.uploaded(gr.File, checked_video)(label="Driving video (up to a minute)", file_types=VIDEO_TYPES, type="filepath", height=120, elem_id="driving")
        with gr.Accordion("Settings", open=False, elem_id="settings"):
            for key, value, text, choices in setting_rows(PRESETS["puppet"].config()):
                self.settings[key] = self.setting(key, value, text, choices)

    def setting(self, key: str, value, text: str, choices: tuple):
        """The right part for one setting, with the help text of the config."""
        gr = self.gr
        if choices:
            return gr.Dropdown(list(choices), value=value, label=key, info=text)
        if isinstance(value, bool):
            return gr.Checkbox(value, label=key, info=text)
        return gr.Number(value, label=key, info=text, precision=0 if isinstance(value, int) else None)

    def result_column(self) -> None:
        gr, parts = self.gr, self.parts
        with gr.Row():                               # beside one another, so that nothing moves down when there is something to stop
            with gr.Column(min_width=180, scale=6):
                parts["status"] = gr.HTML(views.EMPTY, elem_id="status")
            with gr.Column(min_width=70, scale=1, visible=False) as self.stop_place:
                self.stop_button = gr.Button("Stop", elem_id="stop-button", size="sm", min_width=60)
        parts["video"] = self.video("Video", "video", height=480)
        parts["plan"] = gr.Dataframe(headers=["no.", "action", "sec.", "taught"], datatype=["str"] * 4, column_count=(4, "fixed"), interactive=True,
                                     static_columns=[3], wrap=True, label="Plan: double-click to change, then Preview again", visible=False, elem_id="plan",
                                     column_widths=["13%", "46%", "17%", "24%"], buttons=[])
        parts["warnings"] = gr.HTML(visible=False, elem_id="warnings")
        parts["preview"] = self.video("Preview: the picture's own pixels, and the skeleton over it", "preview")
        parts["cost"] = gr.HTML(visible=False, elem_id="cost")
        with gr.Row():
            self.render_button = gr.Button("Render", variant="primary", visible=False, elem_id="render-button", scale=2)
            self.new_button = gr.Button("Begin another", visible=False, elem_id="new-button", scale=1)
        parts["storyboard"] = gr.Image(label="Storyboard", show_label=False, visible=False, elem_id="storyboard", buttons=["download", "fullscreen"], interactive=False)
        parts["motion"] = gr.HTML(value={}, html_template="<div class='caption'>3D motion: drag to turn</div><canvas></canvas>", visible=False,
                                  js_on_load=(ROOM / "motion_viewer.js").read_text(encoding="utf-8"), elem_id="motion")
        with gr.Accordion("Take home", open=False, visible=False) as self.take_home:
            parts["files"] = gr.File(label="Files", file_count="multiple", interactive=False, elem_id="files")
            self.pack_button = gr.Button("Also as GIF, BVH and zip", size="sm", elem_id="pack-button")
            parts["command"] = gr.Code(label="The same on the command line", language="shell", interactive=False, elem_id="command")

    def video(self, label: str, name: str, height: int = 300):
        return self.gr.Video(label=label, visible=False, height=height, autoplay=True, loop=True, interactive=False, elem_id=name, buttons=["download"],
                             min_width=200)

    def runs_column(self) -> None:
        gr = self.gr
        self.names, self.chosen = gr.State([]), gr.State("")
        self.gallery = gr.Gallery(label="Newest first", columns=3, height=460, object_fit="contain", allow_preview=False, elem_id="gallery",
                                  buttons=[], interactive=False)
        self.about = gr.HTML(views.card("quiet", "Choose a run above"), elem_id="about")
        with gr.Row():
            self.open_button = gr.Button("Open", variant="primary", elem_id="open-button", min_width=80)
            self.go_on_button = gr.Button("Go on", elem_id="go-on-button", min_width=80)
            self.delete_button = gr.Button("Delete …", elem_id="delete-button", min_width=80)
        with gr.Row(visible=False) as self.question:
            gr.HTML(views.card("bad", "Delete this run and all its files?"))
            self.yes_button = gr.Button("Yes, delete", variant="stop", elem_id="yes-button", min_width=80)
            self.no_button = gr.Button("No", elem_id="no-button", min_width=80)
        with gr.Accordion("Compare two", open=False), gr.Row():
            self.compared = []
            for side in ("left", "right"):
                with gr.Column(min_width=240):
                    self.compared.append((gr.Dropdown([], label=f"On the {side}", elem_id=f"compare-{side}"), self.video("", f"video-{side}", 400)))

    def weights_column(self, tab) -> None:
        gr, desk = self.gr, self.desk
        table = gr.HTML(weights_table, elem_id="weights")
        with gr.Row():
            group = gr.Dropdown(list(GROUPS), label="Fetch", scale=2)
            button = gr.Button("Fetch", scale=1, elem_id="fetch-button")
            stop = gr.Button("Stop", scale=1, visible=False, elem_id="fetch-stop-button")
        state = gr.HTML(visible=False, elem_id="fetch-status")
        key, timer = gr.State(""), gr.Timer(POLL_SECONDS, active=False)

        def look(key):
            """The download of this page, else the one under way."""
            job = desk.jobs.find(key) or desk.fetching()
            over = job is None or job.is_over
            return (job.key if job else "", gr.HTML(desk.status(job) if job else "", visible=job is not None), gr.Button(visible=not over), gr.Timer(active=not over),
                    weights_table() if over else gr.skip())

        looked = [key, state, stop, timer, table]
        self.on(button.click, lambda group: look(desk.fetch(group).key), [group], looked)
        self.on(stop.click, lambda key: look(getattr(desk.jobs.cancel(key), "key", key)), [key], looked, quick=True)
        self.on(timer.tick, look, [key], looked, quick=True)
        self.on(tab.select, look, [key], looked, quick=True)

    def measure_column(self, tab) -> None:
        gr, outputs = self.gr, self.desk.outputs
        report = gr.Dropdown([], label="MotionBench report", elem_id="report")
        frame = gr.HTML(views.report_frame(outputs, None), elem_id="report-frame")

        def names():
            found = views.reports_in(outputs)
            return gr.Dropdown(found, value=found[0] if found else None), views.report_frame(outputs, found[0] if found else None)

        self.on(tab.select, names, [], [report, frame])
        self.on(report.input, lambda name: views.report_frame(outputs, name), [report], [frame])

    # what joins them

    def join(self) -> None:
        gr, wish = self.gr, [self.parts["picture"], self.parts["prompt"], self.parts["driving"], self.preset, self.parts["plan"], self.session, *self.settings.values()]
        everything = [*self.parts.values(), self.session, self.timer, self.end_timer, self.stop_place, self.preview_button, self.render_button, self.new_button,
                      self.take_home, self.preset, *self.settings.values()]
        self.on(self.plan_button.click, self.plan, [self.parts["prompt"], self.preset, self.session], [self.parts["plan"], self.session])
        for button, title in ((self.preview_button, "preview"), (self.render_button, "render")):
            self.on(button.click, self.begin(title), wish, everything)
            button.click(None, js=SHOW_STATUS, api_visibility="private", show_progress="hidden")
        self.on(self.stop_button.click, self.stop, [self.session], [self.parts["status"]], quick=True)
        self.on(self.new_button.click, lambda session: kept(session) | {"run": "", "pictures": []}, [self.session], [self.session])
        self.on(self.pack_button.click, self.pack, [self.session], [self.parts["files"]])
        self.on(self.timer.tick, self.poll, [self.session], [self.parts["status"], self.timer, self.end_timer], quick=True)        # few parts: each costs time, in every open page
        self.on(self.end_timer.tick, self.end, [self.session], everything, quick=True)
        self.on(self.blocks.load, self.restore, [self.session], everything)
        self.on(self.preset.input, self.chosen_preset, [self.preset, self.session], [self.parts["cost"], *self.settings.values()])
        for name in ("picture", "driving"):
            part = self.parts[name]                 # a file that is refused does not stay; it is judged as it comes
            self.on(part.upload, self.arrived if name == "picture" else lambda file: None, [part], []).failure(lambda: None, [], [part], api_visibility="private", show_progress="hidden", queue=False)
        listed = [self.gallery, self.names, self.chosen, self.about, self.question, *(choice for choice, _ in self.compared)]
        self.on(self.runs_tab.select, self.listed, [], listed)
        self.on(self.gallery.select, self.choice(), [self.names], [self.chosen, self.about], quick=True)
        self.on(self.open_button.click, self.open, [self.chosen], [*everything, self.tabs])
        self.on(self.go_on_button.click, self.go_on, [self.chosen], [*everything, self.tabs])
        self.on(self.delete_button.click, lambda name: gr.Row(visible=bool(name)), [self.chosen], [self.question], quick=True)
        self.on(self.no_button.click, lambda: gr.Row(visible=False), [], [self.question], quick=True)
        self.on(self.yes_button.click, self.delete, [self.chosen], listed)
        for choice, video in self.compared:
            self.on(choice.input, self.compare, [choice], [video])

    def on(self, event: Callable, function: Callable, inputs: list, outputs: list, quick: bool = False):
        """Joins a button to a function. quick: answers at once, beside Gradio's queue."""
        return event(self.refusable(function), inputs, outputs, api_visibility="private", queue=not quick, show_progress="hidden", concurrency_limit=None)

    def refusable(self, function: Callable) -> Callable:
        """The function, whose one-line errors the page shows; the details of any other stay on the terminal."""
        @wraps(function)
        def shown(*inputs):
            try:
                return function(*inputs)
            except (ValueError, FileNotFoundError) as error:
                raise self.gr.Error(one_line(error), title="Not yet", print_exception=False, duration=12) from None
            except OSError as error:
                raise self.gr.Error(f"{error.strerror or error}", title="The disk said no", print_exception=False) from None
            except Exception:
                log.exception("%s: failed", getattr(function, "__name__", "a button"))
                raise self.gr.Error("a mistake of the program: its details are on the terminal of app.py", title="Sorry", print_exception=False) from None

        return shown

    def uploaded(self, kind: type, check: Callable) -> type:
        """A part for uploads that gives the checked file's path, where Gradio's own would decode the file first."""
        def preprocess(_, payload):
            return None if payload is None else self.refusable(lambda: str(check(payload.path)))()

        # is_template: a browser shows the part it is derived from. By ABCMeta, as Gradio's own metaclass writes a .pyi file here.
        return ABCMeta.__new__(type(kind), "Uploaded", (kind,), {"preprocess": preprocess, "is_template": True, "__module__": kind.__module__})

    # what the buttons do: each returns new values by part

    def updates(self, view: dict, session: dict | None = None, busy: bool | None = None) -> dict:
        """A view as Gradio's updates. busy: whether a job is under way; None leaves the buttons alone."""
        gr, changed = self.gr, {}
        if "preset" in view:
            changed |= {self.preset: view["preset"]} | {self.settings[key]: value for key, value in view["values"].items()}
        for name, value in view.items():
            if name in ("preset", "values"):
                continue
            part, stays = self.parts[name], name in ("picture", "prompt", "driving", "status")
            changed[part] = gr.update(value=value if value is not None or name != "motion" else {}, **({} if stays else {"visible": value is not None}))
        if "files" in view:
            changed |= {self.take_home: gr.update(visible=bool(view["files"])), self.new_button: gr.update(visible=bool(view["files"])),
                        self.render_button: gr.update(visible=view.get("cost") is not None)}
        if session is not None:
            changed[self.session] = session
        if busy is not None:
            changed |= {self.timer: gr.Timer(active=busy), self.end_timer: gr.Timer(active=False), self.stop_place: gr.update(visible=busy), self.preview_button: gr.update(interactive=not busy)}
            changed[self.render_button] = changed.get(self.render_button, {}) | gr.update(interactive=not busy)
        return changed

    def chosen_preset(self, preset, session) -> list:
        """The price with another renderer, and its own settings."""
        values = {key: value for key, value, _, _ in setting_rows(PRESETS[preset].config())}
        price = self.desk.price(kept(session), preset, values)
        return [self.gr.HTML(value=price, visible=price is not None), *values.values()]

    def arrived(self, picture) -> None:
        if picture and (doubt := views.doubt_about(picture)):
            self.gr.Warning(doubt, title="Worth a look")

    def plan(self, prompt, preset, session) -> dict:
        rows = self.desk.plan(prompt, preset)
        return {self.parts["plan"]: self.gr.update(value=rows, visible=True), self.session: kept(session) | {"planned": prompt.strip()}}

    def begin(self, title: str) -> Callable:
        def begun(picture, prompt, driving, preset, table, session, *values) -> dict:
            rows = table.values.tolist()[:10 * MAX_SEGMENTS] if hasattr(table, "values") else []
            wish = Wish(picture, prompt, driving, preset, rows, dict(zip(SETTINGS, values)))
            session = self.desk.begin(title, wish, kept(session))
            return self.updates({"status": self.desk.status(self.desk.jobs.find(session["job"]))}, session, busy=True)

        return begun

    def poll(self, session) -> dict:
        status, busy = self.desk.poll(kept(session))
        shown = {} if status is None else {self.parts["status"]: status}
        return shown if busy else shown | {self.timer: self.gr.Timer(active=False), self.end_timer: self.gr.Timer(active=True)}

    def end(self, session) -> dict:
        return self.updates(self.desk.ended(kept(session)), busy=False)

    def stop(self, session) -> dict:
        job = self.desk.jobs.cancel(kept(session).get("job"))
        return {self.parts["status"]: views.card("quiet", "Stopping …", "after the step that is under way") if job else views.EMPTY}

    def restore(self, session) -> dict:
        """After a reload: the run of this browser, and its job where one is under way."""
        session = kept(session)
        if not session.get("run"):
            return self.updates({"status": views.EMPTY}, busy=False)
        try:
            own, view = self.desk.opened(session["run"])
        except ValueError:
            return self.updates({"status": views.EMPTY}, {}, busy=False)
        job = self.desk.jobs.find(session.get("job"))
        if job:
            view["status"] = self.desk.status(job)
        return self.updates(view, own | {"job": session.get("job", "")}, busy=job is not None)      # one that is over is shown by the next poll

    def open(self, name) -> dict:
        session, view = self.desk.opened(name)
        return self.updates(view, session, busy=False) | {self.tabs: self.gr.Tabs(selected="make")}

    def go_on(self, name) -> dict:
        session = self.desk.go_on(name)
        _, view = self.desk.opened(name)
        view["status"] = self.desk.status(self.desk.jobs.find(session["job"]))
        return self.updates(view, session, busy=True) | {self.tabs: self.gr.Tabs(selected="make")}

    def pack(self, session):
        run = runs.find_run(self.desk.outputs, kept(session).get("run"))
        return [self.desk.serve(path) for path in runs.downloads(run, everything=True)]

    def listed(self):
        gr, found = self.gr, runs.runs_in(self.desk.outputs)
        pictures = [(picture if (picture := runs.thumbnail(run)) is not None else runs.BLANK, run.label) for run in found]
        choices = [(run.label, run.name) for run in found]
        about = views.card("quiet", "Choose a run above" if found else "No runs yet", "" if found else "Make one: a picture, a sentence, Preview.")
        return [gr.Gallery(value=pictures, selected_index=None), [run.name for run in found], "", about, gr.Row(visible=False),
                *(gr.Dropdown(choices, value=None) for _ in self.compared)]

    def choice(self) -> Callable:
        """Which run was chosen in the gallery, by its place; Gradio finds the event by its annotation."""
        def chosen(names, event: self.gr.SelectData):
            is_place = isinstance(event.index, int) and 0 <= event.index < len(names)
            run = runs.find_run(self.desk.outputs, names[event.index] if is_place else "")
            return run.name, views.card("quiet" if run.finished else "warn", run.label, run.name)

        return chosen

    def delete(self, name):
        self.desk.delete(name)
        return self.listed()

    def compare(self, name):
        run = runs.find_run(self.desk.outputs, name)
        return self.gr.Video(value=self.desk.serve(run.path / "video.mp4") or self.desk.serve(run.path / runs.PREVIEW), visible=True)
