"""Other people's masks, written from their papers, to compare PMask with. The product never imports this folder."""

from pmask.baselines.crops import Baseline
from pmask.baselines.fawkes import Fawkes
from pmask.baselines.lowkey import LowKey
from pmask.baselines.tipim import TipIm

BASELINES: dict[str, Baseline] = {"fawkes": Fawkes(), "tipim": TipIm(), "lowkey": LowKey()}
"""Each with its published defaults, by the name that ``--method`` takes."""

__all__ = ["BASELINES", "Baseline"]
