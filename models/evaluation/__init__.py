"""How good images are. Knows a pipeline and reference images, and nothing of serving or training."""
