"""What a repair in closed form makes of the costs of the choices, in a sentence."""

from tasks.records import Scores
from tasks.report.words.wording import joined, number


def repaired_order(scores: Scores) -> str:
    """Return whether the order of the choices by their loss changes with a repair; "" without one."""
    change = scores.get("after_repair")
    if change is None:
        return ""
    if change["left_out"]:
        return f"The costs after repair are left out: {change['left_out']}."
    before, after = change["cheapest_before"], change["cheapest_after"]
    lowest = f"the lowest loss is {'still ' if before == after else ''}that of {joined(after)}"
    lowest += "" if before == after else f", and was that of {joined(before)}"
    fitted = f"a repair in closed form on {change['tokens']:,} tokens"
    if change["tau"] is None:
        return f"After {fitted} {lowest}."
    order = "stays the same" if change["tau"] == 1 else "changes"
    return (
        f"Kendall's tau between the losses of the {change['choices']} choices before and after {fitted} is "
        f"{number(change['tau'], 2)}: their order {order}, and {lowest}."
    )
