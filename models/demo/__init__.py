"""Two small DiTs of handwritten digits that ship with the project, and the programs that made them.

Imports nothing: the folders digits-64/ and digits-128/ are data, found by models/registry.py.
"""
