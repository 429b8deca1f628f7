"""The arithmetic of a denoising step, one op a file.

Each file holds an op's definition in plain torch (`op_reference`) and the public `op` that the models call. Nothing
here knows models, checkpoints, requests or processes; only torch and triton are imported.
"""
