"""Every way of the linear layers of a block: how fast it is on this card, how exact, and whose bits it gives.

Ways with the same letter gave the same bits for all rows, however many there were: the letters are a layer's own, and
float8 has its own. A step captures its launches, so each way is timed as a graph, over several weights and inputs, as
in a step no layer finds its weights in the L2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import torch
from torch.nn import functional as F

from benchmarks.gpu.bench import Bench
from benchmarks.gpu.sections import Row, told
from benchmarks.timing import captured, measure, rate
from dit_serve.kernels import linear_ways
from dit_serve.kernels.float8 import quantise_reference, quantise_weight

SEQUENCES = (64, 16, 2)
FAR_BYTES = 128 << 20  # of weights and inputs that a graph goes through: more than an L2 holds
RUNS = 20
Inputs = tuple[torch.Tensor, ...]  # what a way takes: x, weight, bias; in float8 the scales after each, five in all
Product = Callable[[Inputs], torch.Tensor]


class Layer(NamedTuple):
    """One of a block's linear layers: (N, T, size) -> (N, T, out)."""

    name: str
    size: int
    out: int
    epilogue: str


def rows(bench: Bench, argument: str) -> Iterator[Row]:
    """Yield a row for each layer, number of rows and way; a way that fails costs its own row alone."""
    linear_ways.starve_cublaslt()  # as it is served
    families = {name.lower(): ways for name, ways in vars(linear_ways).items() if is_family(ways)}
    is_card, model = bench.device.type == "cuda", bench.scale.model
    width, tokens = model.heads * model.head_size, 256 if is_card else 16
    layers = (
        Layer("qkv", width, 3 * width, "none"), Layer("proj", width, width, "none"),
        Layer("fc1", width, 4 * width, "gelu_tanh"), Layer("fc2", 4 * width, width, "none"),
    )
    for layer in layers:
        letters: dict[str, list[torch.Tensor]] = {"": [], "float8": []}
        for sequences in SEQUENCES if is_card else (2, 1):
            for name, ways in families.items():
                kind = "float8" if name.startswith("float8") else ""
                for way in ways:
                    what = {"layer": layer.name, "rows": sequences * tokens, "family": name, "way": way.name}
                    if row := found(bench, layer, (sequences, tokens), way, kind, letters[kind]):
                        yield what | row


def is_family(value: object) -> bool:
    return isinstance(value, tuple) and all(hasattr(each, "product") for each in value)


def found(
    bench: Bench, layer: Layer, count: tuple[int, int], way: Any, kind: str, letters: list[torch.Tensor]
) -> Row | None:
    """Return what is found of one way for so many sequences of tokens, or why nothing is; None if it takes no such."""
    try:
        given = inputs(layer, count, kind, bench)
        if not way.takes(given[0], given[2 if kind else 1], "none" if kind else layer.epilogue):
            return None
        product: Product = (lambda given: way.product(*given)) if kind else (lambda g: way.product(*g, layer.epilogue))
        result, exact = product(given), exactly(layer, given)
        error = float((result.double() - exact).norm() / exact.norm())
        del exact
        is_same = torch.equal(product(first(given)), result[:1])
        letter = letter_of(result, letters)
        ms = milliseconds(bench, product, given)
    except Exception as failure:
        return {"failed": told(failure)}
    amount, ceiling = 2.0 * count[0] * count[1] * layer.size * layer.out, bench.largest.get("TFLOP/s")
    reached = rate(amount, "TFLOP/s", ms)
    speed = {"us": ms * 1e3, "tflops": reached, "share": reached / ceiling if ceiling else None}
    return {**speed, "error": error, "bits": letter, "is_same_alone": is_same}


def inputs(layer: Layer, count: tuple[int, int], kind: str, bench: Bench) -> Inputs:
    """Return random inputs, of which fewer sequences are the first of more."""
    generator = torch.Generator(bench.device).manual_seed(layer.size + layer.out)
    draw = partial(torch.randn, generator=generator, device=bench.device)
    weight, bias = draw(layer.out, layer.size) / layer.size**0.5, draw(layer.out).to(bench.dtype)
    x = draw(max(SEQUENCES), count[1], layer.size)[: count[0]]
    if not kind:
        return x.to(bench.dtype), weight.to(bench.dtype), bias
    return (*quantise_reference(x), *quantise_weight(weight), bias)


def first(given: Inputs) -> Inputs:
    """Return the inputs with the first sequence alone: x, and in float8 its scales."""
    count = 2 if len(given) == 5 else 1
    return (*(tensor[:1].contiguous() for tensor in given[:count]), *given[count:])


def exactly(layer: Layer, given: Inputs) -> torch.Tensor:
    """Return the layer's result in float64, of the numbers as they are given."""
    *factors, bias = (tensor.to(torch.float64) for tensor in given)
    if len(factors) == 4:  # in float8, where GELU is another op's
        return F.linear(factors[0] * factors[1][..., None], factors[2] * factors[3][:, None], bias)
    y = F.linear(factors[0], factors[1], bias)
    return F.gelu(y, approximate="tanh") if layer.epilogue == "gelu_tanh" else y


def letter_of(result: torch.Tensor, letters: list[torch.Tensor]) -> str:
    """Return the letter of the results that agree in all rows that both have; a new one if none does."""
    pairs = ((other[: len(result)], result[: len(other)]) for other in letters)
    place = next((i for i, pair in enumerate(pairs) if torch.equal(*pair)), len(letters))
    if place == len(letters):
        letters.append(result)
    return chr(ord("a") + place)


def milliseconds(bench: Bench, product: Product, given: Inputs) -> float:
    """Return the time of one product, of a graph that goes through copies of what it reads."""
    size = sum(tensor.numel() * tensor.element_size() for tensor in given)
    count = min(max(FAR_BYTES // size, 2), 16) if bench.device.type == "cuda" else 2
    copies = [tuple(tensor.clone() for tensor in given) for _ in range(count)]

    def work() -> None:
        for each in copies:
            product(each)

    runs = RUNS if bench.device.type == "cuda" else bench.scale.runs
    return measure(captured(work, bench.device), bench.device, runs=runs).median / count
