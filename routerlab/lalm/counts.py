"""What a model computed, counted; the costs that a slow machine and a fast one share."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Counted:
    """What a model computed, exactly: costs that do not depend on the machine.

    Attributes:
        tower_passes: clips that went through the audio tower.
        prefix_tokens: real (unpadded) tokens run as prefixes.
        suffix_tokens: real tokens run after them.
        padding_tokens: positions of either kind that held nothing.
        written_tokens: tokens run one at a time in greedy decoding.
        head_positions: positions that the whole head was applied to.
    """

    tower_passes: int = 0
    prefix_tokens: int = 0
    suffix_tokens: int = 0
    padding_tokens: int = 0
    written_tokens: int = 0
    head_positions: int = 0

    @property
    def tokens(self) -> int:
        """Real tokens that went through the text model."""
        return self.prefix_tokens + self.suffix_tokens + self.written_tokens
