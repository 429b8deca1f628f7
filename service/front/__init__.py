"""The owner of accepted work: every job is entered here once, sent to a worker, and ended here once.

Lives in the HTTP process and outlives every worker. Knows workers by what they take and tell, and no HTTP, process or
model. Imported by `http`.
"""
