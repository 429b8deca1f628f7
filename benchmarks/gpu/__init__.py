"""Everything that is said of a GPU, measured in one run of one card: benchmarks/gpu.sh.

Each section is a process of its own with a time limit (`sections`), so that one which hangs, breaks the card's context
or compiles too long costs its own figures alone; what it had found until then is kept. `__main__` takes them
in turn, those that compare and time nothing side by side, and writes the report after each (`processes`).
"""
