"""Frozen reasoners: the protocol, the prompt and the backends."""
