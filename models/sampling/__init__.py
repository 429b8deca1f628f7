"""Sampling: from noise to latents, step by step, and from latents to pixels.

A sampler is a table of coefficients (`sampler`); `slots` runs one step of many samples at once. Knows no file and no
request. Imported by `models.pipeline`.
"""
