"""Damages small checkpoints in thousands of ways, loads them, and judges what comes of it (test_checkpoint_fuzz.py).

    seeds.py → sound files     mutations.py, pickles.py, texts.py → damage     forked.py, judge.py → load, and judge
"""
