"""A soak: half an hour of mixed company, after which every sum must come out and nothing may have grown.

    make soak             # or: python -m benchmarks.soak --minutes 30 --clients 5 --out FILE

`clients` asks and `seen` keeps what was seen; `scrape` reads what the server says of itself and `processes` what the
system says of it; `books` holds one against the other; `coming_back` tries the advice in Retry-After; `run` puts them
in order. The command is in `__main__`. Imported by it and by tests/system/test_soak.py.
"""
