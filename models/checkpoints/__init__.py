"""Checkpoints: from a file, a folder or a hub id to named tensors, whatever layout they are in.

`checkpoint` recognises what there is and reads everything but the tensors; `weights` loads those. In `pickles` a child
process opens what torch.save wrote; in `components` stands what is read of a folder of diffusers' layout. Knows no
sampling and no request. Imported by `models.pipeline`, training and the commands that look at files.
"""
