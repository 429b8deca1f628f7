"""A finished image: its PNG and the receipt in it.

A leaf: knows the job's and the model's values and nothing of where they come from. Imported by `workers.process`,
`http` and the command line.
"""
