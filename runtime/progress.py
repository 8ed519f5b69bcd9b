"""Progress bars on the terminal whose steps a watcher also hears, and may stop: the web page shows and cancels with it."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from tqdm import tqdm

Watcher = Callable[[str, int, int], None]        # what is done, steps done, steps in all

_watcher: ContextVar[Watcher | None] = ContextVar("watcher", default=None)


@contextmanager
def watched(watcher: Watcher) -> Iterator[None]:
    """Within the context the watcher is called before every step of this thread; an error that it raises stops the work."""
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)


class Steps(tqdm):
    """tqdm's bar, with the same arguments. disable=True hides the bar; a watcher hears the steps all the same."""

    def __init__(self, iterable=None, desc: str = "", total: int | None = None, **options):
        super().__init__(iterable, desc, total, **options)
        self._name, self._total, self._done = desc, total or (len(iterable) if hasattr(iterable, "__len__") else 0), 0

    def __iter__(self) -> Iterator:
        for done, item in enumerate(super().__iter__()):
            self._tell(done)
            yield item

    def update(self, n: float = 1) -> bool | None:
        self._done += n
        self._tell(self._done)
        return super().update(n)

    def _tell(self, done: int) -> None:
        if watcher := _watcher.get():
            watcher(self._name, done, self._total)
