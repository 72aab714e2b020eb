import pytest

from avss_core.surgery.markdown import plain


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("org/Model-7B_v1.5", "org/Model-7B_v1.5"),
        ("a|b", r"a\|b"),
        ("one\n\n# two", "one # two"),
        ("<script>x</script>", r"\<script\>x\</script\>"),
        ("[click](javascript:x)", r"\[click\](javascript:x)"),
        ("![x](http://a)", r"!\[x\](http://a)"),
        ("`code` *bold* \\", r"\`code\` \*bold\* " + "\\\\"),
    ],
)
def test_a_text_is_shown_as_it_is_on_one_line(text: str, shown: str) -> None:
    assert plain(text) == shown
