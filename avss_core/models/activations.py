"""Look at what each block reads, computes and writes: hooks that leave no trace."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from avss_core.models.architectures import architecture_of, blocks, context_length, first_position
from avss_core.models.batches import Batch
from avss_core.models.placement import input_device

SITES = ("output", "update", "attention", "mlp", "mlp_act")
"""Where activations are read:

output      what the block returns
update      what it adds to the residual stream, output minus input
attention   what its attention returns
mlp         what its MLP returns
mlp_act     what the MLP's down projection reads
"""

_INNER = {"attention": "attention", "mlp": "mlp", "mlp_act": "down"}
"""The field of `Architecture` that names the module of each site inside a block."""

Seen = Mapping[str, Tensor]
"""What one call of a block showed: `input`, `output`, and the inner sites that were asked for, each
[batch, seq, features]; at `mlp_act` the features are those of the MLP."""

Visitor = Callable[[int, Seen], None]
"""Called with the layer's index and what was seen of it."""


@contextmanager
def observed(model: nn.Module, visit: Visitor, sites: Sequence[str] = ()) -> Iterator[None]:
    """Call `visit` for each block of each forward pass inside the context; remove every hook after it.

    Args:
        model: its blocks are observed.
        visit: called after each block has run.
        sites: those of `SITES` that will be read; only they get hooks.

    Raises:
        LookupError: the place of a site in a block of this model is not known.
    """
    handles = []
    family = architecture_of(model)
    for site in sites:
        if site in _INNER and not getattr(family, _INNER[site]):
            raise LookupError(
                f"site {site}: where it is in a block of this model is not known; "
                "add a record to avss_core/models/families.py"
            )
    try:
        for index, block in enumerate(blocks(model)):
            seen: dict[str, Tensor] = {}
            for site in sites:
                if site in _INNER:
                    module = block.get_submodule(getattr(family, _INNER[site]))
                    keep = _keep(seen, site, before=site == "mlp_act")
                    handles.append(module.register_forward_hook(keep, with_kwargs=True))
            handles.append(block.register_forward_hook(_outer(index, seen, visit), with_kwargs=True))
        yield
    finally:
        for handle in handles:
            handle.remove()


def at_site(site: str, seen: Seen) -> Float[Tensor, "batch seq features"]:
    """Return the activations at a site from what was seen of a block.

    Raises:
        ValueError: the site's module was not called in this block.
    """
    if site == "update":
        return seen["output"] - seen["input"]
    if site not in seen:
        raise ValueError(f"site {site}: its module was not called; the model runs the block in another way")
    return seen[site]


def _keep(seen: dict[str, Tensor], site: str, *, before: bool) -> Callable[..., None]:
    """Return a hook that keeps the input or the output of a part of a block until the block has run."""

    def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        seen[site] = (args[0] if args else next(iter(kwargs.values()))) if before else _first(result)

    return hook


def _outer(index: int, seen: dict[str, Tensor], visit: Visitor) -> Callable[..., None]:
    """Return a hook that passes what was seen of a block to the visitor, and forgets it."""

    def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        hidden = args[0] if args else kwargs["hidden_states"]
        inner = {site: _as_sequence(rows, hidden) for site, rows in seen.items()}
        seen.clear()
        visit(index, inner | {"input": hidden, "output": _first(result)})

    return hook


def _first(result: Any) -> Tensor:
    """Return the hidden states of what a module returned: a tensor, or a tuple that starts with one."""
    hidden: Tensor = result[0] if isinstance(result, tuple) else result
    return hidden


def _as_sequence(rows: Tensor, hidden: Tensor) -> Tensor:
    """Return activations as [batch, seq, features]; some families flatten them to rows inside a block."""
    return rows if rows.dim() == hidden.dim() else rows.view(*hidden.shape[:-1], rows.shape[-1])


def run_blocks(model: nn.Module, batch: Batch) -> None:
    """Run a batch through the model without the cost of its output logits.

    Raises:
        ValueError: the batch is longer than the model's context.
    """
    config: Any = model.config
    room, length = context_length(config), batch.ids.shape[1]
    if room is not None and length > room:
        raise ValueError(
            f"a sequence of {length} tokens does not fit the model's {room} positions; "
            "lower collect.window, or leave out questions with answers as long as that"
        )
    body: Any = getattr(model, "base_model", model)
    body(**batch.inputs(input_device(model), first_position(config)))
