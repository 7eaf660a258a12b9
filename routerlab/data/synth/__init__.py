"""SynthAQA: generated clips and questions whose right action depends on the clip, not the words."""

from routerlab.data.synth.draw import FAMILIES, OOD_FAMILIES, draw
from routerlab.data.synth.item import Item, Pool
from routerlab.data.synth.make import make
from routerlab.data.synth.sounds import SAMPLE_RATE

__all__ = ["FAMILIES", "OOD_FAMILIES", "SAMPLE_RATE", "Item", "Pool", "draw", "make"]
