"""What the HTTP process and a worker say to each other: the values (`job`, `messages`) and their bytes (`frames`).

The vocabulary of all other rooms. Knows nothing of them, and imports no room. Imported by everybody.
"""
