"""The arithmetic of a denoising step, one op a file.

Each file holds, in this order, an op's definition in plain torch (`op_reference`), its Triton kernel, the launch of it
(`op_launch`: checks, outputs, block sizes), the two as a torch op (`op_triton`, so that torch.compile and export see
it) and the public `op` that the models call: the kernel for tensors on a card, the definition for all others, but for
GELU in `linear`, which oneDNN fuses on the CPU. launch.py, checks.py, rows.py and tiles.py hold what ops share;
linear_ways.py lists the forms of the product that there are to choose from. Nothing here knows models, checkpoints,
requests or processes; only torch and triton are imported, and where triton is missing the definitions serve alone.

RESOURCES.md lists what each kernel costs on three targets; `python -m dit_serve.kernels.resources` writes it.
"""
