"""Numbers and verdicts in plain words: a change is called one only where its interval excludes zero."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.report.words.evidence import NOT_SURE, called, few, few_kept, few_reviews, unmoved

IN_PERCENT = frozenset({"accuracy", "accuracy_at_50", "coverage_at_50", "exact_match"})
NAMES = {
    "accuracy": "accuracy",
    "accuracy_at_50": "accuracy@50",
    "coverage_at_50": "coverage@50",
    "ece": "ECE",
    "brier": "Brier score",
}
"""Figures of a question set that are compared, and their names on the page."""

MORE_FIGURES = {
    "exact_match": "exact match",
    "containment": "containment",
    "brier_skill": "Brier skill",
    "auroc": "AUROC",
    "gold_nll": "gold loss",
    "preference_accuracy": "preference",
    "ece_litcab": "ECE (LitCab)",
    "accuracy_at_50_litcab": "acc@50 (LitCab)",
    "coverage_at_50_litcab": "cov@50 (LitCab)",
}
"""The other figures of a question set, and their names on the page."""

NONE = "\u2014"
MINUS = "\u2212"
SPACE = "\u00a0"


@dataclass(frozen=True)
class Verdict:
    """One sentence of the page's summary."""

    tone: str
    """`worse`, `better`, `same` where no change is certain, `unsure` where the questions are too few to say,
    `fact` for what was done."""
    text: str
    details: tuple[str, ...] = ()
    """The changes that the sentence speaks of, a line a figure."""


def number(value: float | None, digits: int = 3) -> str:
    """Return a number with fixed digits and a true minus sign, a dash for None."""
    if value is None:
        return NONE
    text = f"{value:,.{digits}f}"
    return (text if float(text.replace(",", "")) else text.lstrip("-")).replace("-", MINUS)


def significant(value: float | None, digits: int = 4) -> str:
    """Return a number of any size with a few significant digits, zeros too, a dash for None."""
    return NONE if value is None else f"{value:#.{digits}g}".rstrip(".").replace("-", MINUS)


def figure_text(name: str, value: float | None) -> str:
    """Return a figure in the form of its kind: shares in percent, the others with three digits."""
    if value is None:
        return NONE
    return f"{number(100 * value, 1)}{SPACE}%" if name in IN_PERCENT else number(value)


def interval_text(name: str, entry: Mapping[str, Any]) -> str:
    """Return the interval of a figure in the unit of the figure, nothing where there is none."""
    if entry["low"] is None or entry["high"] is None:
        return ""
    scale, digits = (100, 1) if name in IN_PERCENT else (1, 3)
    return f"[{number(scale * entry['low'], digits)}, {number(scale * entry['high'], digits)}]"


def change_text(name: str, entry: Mapping[str, Any]) -> str:
    """Return a difference with its sign and interval; shares differ in points."""
    scale, digits, unit = (100, 1, f"{SPACE}points") if name in IN_PERCENT else (1, 3, "")
    value = number(scale * entry["value"], digits)
    sign = "+" if entry["value"] > 0 and value.strip("0.,") else ""
    return f"{sign}{value}{unit} {interval_text(name, entry)}"


def listed(items: Iterable[Any]) -> str:
    """Return items as a list in a sentence."""
    return ", ".join(map(str, items)) or "none"


def joined(words: Sequence[str]) -> str:
    """Return words as a sentence lists them."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def sentence(words: str) -> str:
    """Return words with a capital letter at the start."""
    return words[:1].upper() + words[1:]


def setting_text(value: Any) -> str:
    """Return a parameter's value as params.yaml would show it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return listed(value) if isinstance(value, list) else str(value)


def answer_lines(answers: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return where the answers that EAVSS looks at come from: one line a source, with its counts."""
    supplied, own = (
        {name: sources[kind] for name, sources in answers.items() if kind in sources}
        for kind in ("supplied", "generated")
    )
    lines = []
    if supplied:
        questions = sum(found["questions"] for found in supplied.values())
        lines.append(f"supplied with the data: an accepted and a wrong answer to {questions} questions")
    if own:
        total: Counter[str] = Counter()
        for found in own.values():
            total.update({key: value for key, value in found.items() if isinstance(value, int)})
        judges = listed(dict.fromkeys(found["judge"] for found in own.values()))
        each = listed(f"{name} {found['both_kinds']}" for name, found in own.items())
        lines.append(
            f"the model's own, judged by {judges}: a right and a wrong answer to {total['both_kinds']} of "
            f"{total['questions']} questions ({each}); {total['only_right']} were answered only right, "
            f"{total['only_wrong']} only wrong, {total['wordless']} without a word. Of {total['answers']} "
            f"answers {total['right']} are right, {total['wrong']} wrong, {total['empty']} empty and "
            f"{total['duplicate']} repeat another"
        )
    return lines


def retentions(table: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the name and the record of every retention of a table, generation and classification apart."""
    generation, sentiment = table["generation"], table["classification"]["sentiment"]
    for name, entry in generation["sets"].items():
        yield f"{name}, accuracy", entry["retention"]
    yield "mean of the sets", generation["mean"]
    yield "sentiment, accuracy", sentiment["retention"]
    yield "sentiment, over chance", sentiment["retention_over_chance"]
    yield "language modelling, NLL", _nll_kept(table)


def _nll_kept(table: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the dense model's loss on test text over the smaller one's; its interval pairs the windows."""
    kept: Mapping[str, Any] = table["language_modelling"]["nll_retention"]
    return kept


def trained_base(found: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the figures of the model that was trained."""
    base = found["mitigation"]["base"]
    figures: Mapping[str, Any] = (found["healing"] if base == "healed" else found["evaluation"])[base]
    return figures


def verdicts(found: Mapping[str, Any]) -> list[Verdict]:
    """Return what the run found, each sentence following from the numbers and their intervals."""
    evaluation, mitigation = found["evaluation"], found["mitigation"]
    dense, pruned, base = evaluation["dense"], evaluation["pruned"], trained_base(found)
    return [
        _removal(found),
        *_changes("After pruning", dense, pruned, evaluation["pruned_against_dense"]),
        _sentiment(dense["sentiment"], pruned["sentiment"]),
        *_healing(found["healing"], dense, pruned),
        _training(mitigation, base),
        *_changes("After training", base, mitigation["mitigated"], mitigation["mitigated_against_base"]),
        _sentiment(
            base["sentiment"], mitigation["mitigated"]["sentiment"], names=(mitigation["base"], "trained")
        ),
    ]


def _removal(found: Mapping[str, Any]) -> Verdict:
    """Return what was removed, and what the test text says of it."""
    provenance = found["pruned"]["provenance"]
    before, after = (found["evaluation"][name]["language_modelling"] for name in ("dense", "pruned"))
    removed, depth = provenance["removed"], found["card"]["layers"]
    verb = "raises" if after["nll"] > before["nll"] else "lowers"
    apart = _apart(_nll_kept(found["evaluation"]["retention"]), {"low": 1.0, "high": 1.0})
    tone = {"raises": "worse", "lowers": "better"}[verb] if apart else "same"
    return Verdict(
        tone,
        f"Removing {len(removed)} of {depth} layers ({listed(removed)}), chosen by {provenance['score']}, "
        f"{verb} the loss on test text from {number(before['nll'])} to {number(after['nll'])} nats per token"
        f"{'' if apart else ' (the interval of their ratio holds 1)'}. It leaves "
        f"{found['pruned']['parameters']:,} of {found['card']['parameters']:,} parameters.",
    )


def _healing(
    healing: Mapping[str, Any], dense: Mapping[str, Any], pruned: Mapping[str, Any]
) -> Iterator[Verdict]:
    """Yield what healing brought back; nothing where there was none."""
    if not healing["enabled"]:
        return
    healed = healing["healed"]
    before, after, goal = (side["language_modelling"] for side in (pruned, healed, dense))
    apart = _apart(*(_nll_kept(healing["retention"][when]) for when in ("before", "after")))
    better = "better" if after["nll"] < before["nll"] else "worse"
    tokens = f"{healing['training']['tokens']:,} tokens"
    unsaid = few_kept(healing["retention"]["after"])
    kept = [
        f"{name}: {unsaid.get(name) or f'{share_kept(was)} before, {share_kept(now)} after'}"
        for (name, was), (_, now) in zip(
            *(retentions(healing["retention"][when]) for when in ("before", "after")), strict=True
        )
    ]
    yield Verdict(
        better if apart else "same",
        f"Healing on {tokens} brings the pruned model's loss on test text from "
        f"{number(before['nll'])} to {number(after['nll'])} nats per token; the dense model's is "
        f"{number(goal['nll'])}. Kept of the dense model's figures:",
        tuple(kept),
    )
    yield from _changes("After healing", pruned, healed, healing["healed_against_pruned"])


def share_kept(entry: Mapping[str, Any], unsaid: str = "") -> str:
    """Return a retention with its interval in percent, or with why it has none that says anything."""
    if entry["value"] is None:
        return "nothing to keep"
    if unsaid:
        return f"{figure_text('accuracy', entry['value'])}, {unsaid}"
    return f"{figure_text('accuracy', entry['value'])} {interval_text('accuracy', entry)}"


def _training(mitigation: Mapping[str, Any], before: Mapping[str, Any]) -> Verdict:
    """Return what was trained, and the loss of text before and after, which has no paired interval."""
    after, training = mitigation["mitigated"]["language_modelling"], mitigation["training"]
    still = unmoved(mitigation, before)
    return Verdict(
        "fact",
        f"Trained layers {listed(training['dense_layers'])} of the {mitigation['base']} model on "
        f"{training['train_pairs']} pairs of answers. The loss on test text was "
        f"{number(before['language_modelling']['nll'])} nats per token before and is {number(after['nll'])} "
        f"after.{f' {sentence(still)}.' if still else ''}",
    )


def _changes(
    when: str, before: Mapping[str, Any], after: Mapping[str, Any], changes: Mapping[str, Any]
) -> Iterator[Verdict]:
    """Yield a verdict for what is surely worse, for what is surely better, for the rest and what is open."""
    found: dict[str, list[tuple[str, str]]] = {"worse": [], "better": [], "same": [], "hollow": []}
    asked = {name: {"n": min(side["sets"][name]["n"] for side in (before, after))} for name in changes}
    enough = [name for name in asked if not few({name: asked[name]})]
    for figure in NAMES:
        for name in enough:
            entry, sides = changes[name][figure], [side["sets"][name] for side in (before, after)]
            values = " to ".join(figure_text(figure, side[figure]["value"]) for side in sides)
            text = f"{name} {values} ({change_text(figure, entry)})"
            found[called(figure, entry, sides)].append((figure, text))
    count = sum(map(len, found.values()))
    for tone in ("worse", "better"):
        if found[tone]:
            start = f"{when}, {tone} beyond the interval: {len(found[tone])} of {count} figures."
            yield Verdict(tone, start, tuple(_by_figure(found[tone])))
    if found["hollow"]:
        yield Verdict("same", f"{when}, not judged: {NOT_SURE}.", tuple(_by_figure(found["hollow"])))
    if found["same"] and len(found["same"]) == count:
        yield Verdict("same", f"{when}, none of the {count} figures changed beyond its interval.")
    elif found["same"]:
        rest = f"{len(found['same'])} of {count} figures"
        yield Verdict("same", f"{when}, unchanged within the interval: {rest}.")
    if len(enough) < len(asked):
        yield Verdict("unsure", f"{when}, {few(asked)}.")


def _by_figure(changes: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Yield one line for each figure, with its sets."""
    for figure, label in NAMES.items():
        texts = [text for name, text in changes if name == figure]
        if texts:
            yield f"{label}: {'; '.join(texts)}"


def _sentiment(
    before: Mapping[str, Any], after: Mapping[str, Any], names: tuple[str, str] = ("dense", "pruned")
) -> Verdict:
    """Return how sentiment accuracy compares; a difference counts where the two intervals are apart."""
    first, second = before["accuracy"], after["accuracy"]
    texts = [f"{figure_text('accuracy', e['value'])} {interval_text('accuracy', e)}" for e in (first, second)]
    start = f"Sentiment accuracy is {texts[0]} for the {names[0]} and {texts[1]} for the {names[1]} model"
    unsaid = few_reviews((before, after))
    if unsaid:
        return Verdict("unsure", f"Sentiment of the {names[0]} and the {names[1]} model: {unsaid}.")
    if not _apart(first, second):
        return Verdict("same", f"{start}: the intervals overlap, so no difference is certain.")
    return Verdict(
        "better" if second["value"] > first["value"] else "worse", f"{start}: the intervals are apart."
    )


def _apart(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Tell whether two intervals exist and do not overlap."""
    ends = (first["low"], first["high"], second["low"], second["high"])
    return None not in ends and (first["high"] < second["low"] or second["high"] < first["low"])
