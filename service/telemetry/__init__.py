"""What operators see: logs, traces, metrics, the count of requests.

A leaf: is told what happens, and asks nobody. Imported by every room that has something to tell.
"""
