"""What a report says of the small sets that the project carries, and of what is the user's own."""

from collections.abc import Iterable, Mapping

from tasks.report.words.wording import joined, sentence


def samples(origin: Mapping[str, str]) -> list[str]:
    """Return which kinds of rows are the project's sample, by the origin of each kind."""
    return [part for part, from_ in sorted(origin.items()) if from_ == "sample"]


def banner(origin: Mapping[str, str], sets: Iterable[str]) -> str:
    """Return which figures are those of the project's sample, "" for none."""
    sampled = samples(origin)
    own = {part: from_ for part, from_ in origin.items() if from_ != "sample"}
    if not sampled:
        return ""
    if not own:
        return (
            f"This is a sample run: its {joined(sampled)} come from the small sets that the project carries, "
            "so its figures say that the pipeline works, not how good the model is."
        )
    verb = "is" if sampled in (["sentiment"], ["text"]) else "are"
    told = joined([name for part in own for name in (sets if part == "questions" else [part])])
    whose = "of your data" if set(own.values()) == {"path"} else "not"
    return f"{sentence(joined(sampled))} {verb} the project's sample; only the figures of {told} are {whose}."
