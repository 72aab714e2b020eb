import pytest
from ruamel.yaml import YAML

from avss_core.surgery.exports import kept_ranges, mergekit_yaml, quantize_argument


@pytest.mark.parametrize(
    ("kept", "ranges"),
    [
        ([], []),
        ([0], [(0, 1)]),
        ([7], [(7, 8)]),
        ([0, 1, 2], [(0, 3)]),
        ([0, 2, 4], [(0, 1), (2, 3), (4, 5)]),
        ([1, 2, 5, 6, 7, 11], [(1, 3), (5, 8), (11, 12)]),
        ([0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 15, 16, 18], [(0, 3), (4, 12), (15, 17), (18, 19)]),
    ],
)
def test_ranges_exclude_their_end(kept: list[int], ranges: list[tuple[int, int]]) -> None:
    assert kept_ranges(kept) == ranges
    assert [layer for first, end in ranges for layer in range(first, end)] == kept


def test_mergekit_gets_a_slice_for_each_run_of_kept_layers() -> None:
    assert mergekit_yaml("org/model", [0, 1, 3, 6, 7], "bfloat16") == (
        "merge_method: passthrough\n"
        "dtype: bfloat16\n"
        "slices:\n"
        "  - sources:\n"
        '      - model: "org/model"\n'
        "        layer_range: [0, 2]\n"
        "  - sources:\n"
        '      - model: "org/model"\n'
        "        layer_range: [3, 4]\n"
        "  - sources:\n"
        '      - model: "org/model"\n'
        "        layer_range: [6, 8]\n"
    )


@pytest.mark.parametrize(
    ("source", "model"),
    [
        ("org/model@v1.2", "org/model@v1.2"),
        ("gpt2@abc", "gpt2@abc"),
        ("/models/plain", "/models/plain"),
        # mergekit would take these for a revision, an adapter, and neither.
        ("/models/me@home", {"model": {"path": "/models/me@home"}}),
        ("../a+b", {"model": {"path": "../a+b"}}),
        ("/x@y/z@w", {"model": {"path": "/x@y/z@w"}}),
        ('/a"@b', {"model": {"path": '/a"@b'}}),
    ],
)
def test_a_path_is_not_read_as_a_revision_or_an_adapter(source: str, model: object) -> None:
    found = YAML(typ="safe").load(mergekit_yaml(source, [0], "float32"))
    assert found["slices"][0]["sources"][0]["model"] == model


@pytest.mark.parametrize("name", ["my: model #1", 'quo"ted', "back\\slash", "- x", "Zwölf", "yes", "{}"])
def test_any_name_survives_yaml(name: str) -> None:
    yaml = YAML(typ="safe")
    assert yaml.load(mergekit_yaml(name, [0], "float32"))["slices"][0]["sources"][0]["model"] == name


@pytest.mark.parametrize(("removed", "line"), [([4], "4"), ([12, 3, 7], "3,7,12"), ([0, 1, 2], "0,1,2")])
def test_llama_quantize_gets_a_list_with_commas(removed: list[int], line: str) -> None:
    assert quantize_argument(removed) == f"--prune-layers {line}\n"
