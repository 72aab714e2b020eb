"""Where answers come from, in words."""

from collections import Counter
from collections.abc import Mapping

from avss_core.jobs.job_records import AnswerCounts


def answer_lines(answers: Mapping[str, AnswerCounts]) -> list[str]:
    """Return where the answers that EAVSS looks at come from: one line a source, with its counts."""
    supplied = [counts["supplied"] for counts in answers.values() if "supplied" in counts]
    own = {name: counts["generated"] for name, counts in answers.items() if "generated" in counts}
    lines = []
    if supplied:
        questions = sum(counts["questions"] for counts in supplied)
        lines.append(f"supplied with the data: an accepted and a wrong answer to {questions} questions")
    if own:
        total: Counter[str] = Counter()
        for counts in own.values():
            total.update({key: value for key, value in counts.items() if isinstance(value, int)})
        judges = ", ".join(dict.fromkeys(counts["judge"] for counts in own.values()))
        each = ", ".join(f"{name} {counts['both_kinds']}" for name, counts in own.items())
        lines.append(
            f"the model's own, judged by {judges}: a right and a wrong answer to {total['both_kinds']} of "
            f"{total['questions']} questions ({each}); to {total['only_right']} only right ones, to "
            f"{total['only_wrong']} only wrong ones, to {total['wordless']} only empty ones. Of "
            f"{total['answers']} answers {total['right']} are right, {total['wrong']} wrong, "
            f"{total['empty']} empty and {total['duplicate']} repeated"
        )
    return lines
