"""The learner: prompts that list cards under labels, objectives, and the routers that learn."""
