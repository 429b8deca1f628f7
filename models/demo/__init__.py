"""Small DiTs that ship with the project, two of handwritten digits and one of clothes, and the programs that made them.

Imports nothing: the folders digits-64/, digits-128/ and fashion-64/ are data, found by models/registry.py.
"""
