"""The engine of one worker: admit → step → retire, at every denoising step.

Knows jobs and the door to a model, which it declares itself; no HTTP, no process, no tensor. Imported by
`workers.process` alone.
"""
