"""The small LALM that ships: how it is built, what it is trained on, its weights and card."""
