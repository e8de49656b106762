"""Progress bars on standard error: one per stage, shown in a terminal or notebook only."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

if TYPE_CHECKING:
    from tqdm.auto import tqdm

Bar: TypeAlias = "tqdm[NoReturn]"


@dataclass(frozen=True, slots=True)
class Progress:
    """Whether stages show bars. `None` shows them where standard error is a terminal or a notebook."""

    enabled: bool | None = None
    shared: Bar | None = None

    def within(self, bar: Bar) -> Progress:
        """Return a progress whose stages advance `bar` and show none of their own."""
        return Progress(self.enabled, bar)

    def bar(self, stage: str, total: int, unit: str) -> AbstractContextManager[Bar]:
        """Return a bar for `total` units of a stage's work, with its rate and the time left."""
        if self.shared is not None:
            return nullcontext(self.shared)
        disable = True if total == 0 else self._disabled
        bar: Bar = _bars()(total=total, desc=f"{stage:>9}", unit=f" {unit}", disable=disable, mininterval=0.2)
        return bar

    def message(self, text: str) -> AbstractContextManager[Any]:
        """Show a line while something happens that has no measure, and remove the line afterwards."""
        bar: Bar = _bars()(desc=text, bar_format="{desc} …", leave=False, disable=self._disabled)
        return bar

    @property
    def _disabled(self) -> bool | None:
        """What `tqdm` takes: None disables the bar unless there is a terminal."""
        if self.enabled is None:
            return False if _in_notebook() else None
        return not self.enabled


def _in_notebook() -> bool:
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return "IPKernelApp" in getattr(shell, "config", ())


def _bars() -> Any:
    """Return the bars of a notebook, or those of text where it has no ipywidgets or there is none."""
    # tqdm.auto would ask for ipywidgets at each bar, and show none.
    if _in_notebook() and find_spec("ipywidgets"):
        from tqdm.notebook import tqdm as notebook_bars

        return notebook_bars
    from tqdm import tqdm

    return tqdm


SILENT = Progress(enabled=False)
