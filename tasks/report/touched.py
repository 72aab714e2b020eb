"""Which layers of the dense model each step of a run removed, refitted or trained."""

from tasks.records import RunRecords

STEPS = {
    "removed": "removed",
    "repaired": "repaired (refitted)",
    "healed": "trained by healing",
    "mitigated": "trained by mitigation",
}
"""What a step does to a layer, by the name of the model that it makes; `removed` makes the pruned one."""


def touched(records: RunRecords) -> dict[str, list[int]]:
    """Return the layers that each step of the run changed, in depth order, as numbers of the dense model.

    A step that is switched off is left out. A refit that was not kept leaves its layer as it was.
    """
    layers = {"removed": records["pruned"]["provenance"]["removed"]}
    if records["repair"]["enabled"]:
        fit = records["repair"]["fit"]["projections"]
        layers["repaired"] = [each["dense_layer"] for each in fit if each["ridge"] is not None]
    if records["healing"]["enabled"]:
        layers["healed"] = records["healing"]["training"]["dense_layers"]
    layers["mitigated"] = records["mitigation"]["training"]["dense_layers"]
    return {name: sorted({*own}) for name, own in layers.items()}
