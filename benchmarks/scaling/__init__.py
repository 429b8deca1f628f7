"""The findings of "Scalable Diffusion Models with Transformers" (arXiv 2212.09748), looked for again at a small size.

    python -m benchmarks.scaling            # trains and measures; goes on where it was
    python -m benchmarks.scaling.page       # writes the plots and the tables of docs/scaling-study.md

plan.py says what is trained and measured, study.py does it, results.py keeps it; series.py has the figures behind the
plots, plots.py and page.py show them. Only plots.py needs matplotlib.
"""
