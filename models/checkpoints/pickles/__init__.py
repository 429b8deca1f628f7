"""Pickles of torch.save, opened in a process of its own and read without running anything.

`unpickle` is that process's program, which `checkpoints.convert` starts; nobody else imports this room. Knows no cache
and no folder.
"""
