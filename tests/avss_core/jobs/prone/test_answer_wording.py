from avss_core.jobs.prone.answer_wording import answer_lines
from tests.tasks.report_records import GENERATED


def test_where_the_answers_come_from_is_said_with_counts() -> None:
    (line,) = answer_lines({"nq": {"supplied": {"questions": 6}}, "sciq": {"supplied": {"questions": 5}}})
    assert line == "supplied with the data: an accepted and a wrong answer to 11 questions"
    (line,) = answer_lines(
        {"nq": {"generated": GENERATED}, "sciq": {"generated": GENERATED | {"judge": "f1"}}}
    )
    assert "judged by fitted, f1: a right and a wrong answer to 14 of 80 questions (nq 7, sciq 7)" in line
    assert "to 6 only right ones, to 56 only wrong ones, to 4 only empty ones" in line
    assert line.endswith("Of 400 answers 60 are right, 180 wrong, 40 empty and 120 repeated")
    assert len(answer_lines({"nq": {"supplied": {"questions": 6}, "generated": GENERATED}})) == 2
