"""The stage repair on a tiny model: what it writes, what it reads, that it resumes and can be left out."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

QUICK = {
    "data.sets": "[nq, sciq]",
    "collect.tokens": 128,
    "score.cost_tokens": 64,
    "heal.validation_tokens": 400,
    "repair.tokens": 3000,
    "repair.window": 100,
}
KEPT = [0, 2, 5]


@pytest.fixture(scope="module")
def changed(tiny, tokenizer, tmp_path_factory, prefect_harness):
    """A function that returns the parameters with changes."""
    from avss_core.settings.reading import load_params

    model = tmp_path_factory.mktemp("model")
    tiny("llama", max_position_embeddings=1024).save_pretrained(model)
    tokenizer.save_pretrained(model)
    changes = [f"model.name={model}", *(f"{key}={value}" for key, value in QUICK.items())]
    return lambda *more: load_params(ROOT / "params.yaml", [*changes, *more])


@pytest.fixture(scope="module")
def workspace(changed, tmp_path_factory):
    """A workspace whose pruned model was repaired."""
    from avss_core.jobs.checkpoint_pruning import prune_model
    from flows.prepare import prepare
    from flows.repair import repair
    from flows.running.workspace import Workspace

    place = Workspace(tmp_path_factory.mktemp("workspace"))
    prepare(changed(), place.root)
    known = {"model": "tiny", "score": "explicit list"}
    prune_model(str(place.dense), [1, 3, 4], dtype="float32", folder=place.pruned, provenance=known)
    repair(changed(), place.root)
    return place


def _json(path):
    return json.loads(path.read_text(encoding="utf-8"))


def _files(place):
    return {path.name: path.read_bytes() for path in (*sorted(place.repaired.iterdir()), place.repair)}


def test_the_certificate_lists_what_was_refitted_and_proves_the_rest(workspace):
    certificate = _json(workspace.repaired / "certificate.json")
    assert certificate["layer_map"] == KEPT
    assert {check["name"]: check["passed"] for check in certificate["checks"]}["refitted tensors"] is True
    assert certificate["refitted"]
    for name in certificate["refitted"]:
        assert name.endswith(("self_attn.o_proj.weight", "mlp.down_proj.weight"))
    pruned = _json(workspace.pruned / "certificate.json")["tensors"]
    changed = {name for name, digest in certificate["tensors"].items() if pruned[name] != digest}
    assert changed == set(certificate["refitted"])


def test_the_record_says_what_was_read_and_how_well_it_fits(workspace):
    fit = _json(workspace.repair)["fit"]
    assert fit["tokens"] == sum(kind["tokens"] for kind in fit["windows"].values()) > 2900
    assert [row["dense_layer"] for row in fit["projections"]] == [0, 0, 2, 2, 5, 5]
    assert all(row["error"] <= 1 for row in fit["projections"])
    assert not workspace.training.joinpath("repair").exists()


def test_text_that_costs_or_healing_are_measured_on_is_not_read(workspace, tokenizer, changed):
    from avss_core.data.rows import read_documents
    from avss_core.jobs.checkpoint_repair import repair_settings
    from avss_core.jobs.mixture import mixed
    from avss_core.models.batches import token_stream

    params = changed("repair.questions=0", "repair.reviews=0", "heal.questions=0", "heal.reviews=0")
    mixture = repair_settings(params)["mixture"]
    read, held = mixed(tokenizer, workspace.prepared, params.data.sets, mixture, 1024, scored_too=True)
    documents = read_documents(workspace.prepared / "text" / "calibration.json")
    stream = token_stream(tokenizer, documents, 128 + 64 + 400 + 3000)
    assert sum(held.ids, ()) == tuple(stream[192:592])
    assert sum(read.ids, ()) == tuple([*stream[:128], *stream[592:]][:3000])


def test_a_stage_that_was_stopped_goes_on_to_the_same_bytes(workspace, changed, monkeypatch):
    from avss_core.jobs import checkpoint_repair as module
    from flows.repair import repair

    class StoppedError(Exception):
        pass

    first, made = _files(workspace), []

    def dying(folder, refit):
        if len(made) == 2:
            raise StoppedError
        made.append(refit.layer)
        live(folder, refit)

    live = module.write_refit
    monkeypatch.setattr(module, "write_refit", dying)
    with pytest.raises(StoppedError):
        repair(changed(), workspace.root)
    assert made == [0, 1]
    assert _files(workspace) == first
    made.clear()
    monkeypatch.setattr(module, "write_refit", lambda folder, refit: made.append(refit.layer))
    repair(changed(), workspace.root)
    assert made == [2]
    assert _files(workspace) == first


def test_a_repair_that_is_switched_off_leaves_empty_places(workspace, changed):
    from flows.repair import repair

    before = _files(workspace)
    assert repair(changed("repair.enabled=false"), workspace.root) == "repair.enabled"
    assert not list(workspace.repaired.iterdir())
    assert _json(workspace.repair) == {"enabled": False}
    repair(changed(), workspace.root)
    assert _files(workspace) == before
