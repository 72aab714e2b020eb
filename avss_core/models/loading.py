"""Load models and tokenizers: the embedded default, a folder, a GGUF file, or any Hub id; no pickles."""

import copy
import json
import warnings
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from avss_core.files.shards import stored_tensors
from avss_core.models.architectures import ARCHITECTURES, architecture, blocks, depth, depth_field
from avss_core.models.families import ENCODERS
from avss_core.models.locations import gguf_file, local_folder, source
from avss_core.models.placement import SPREAD, chosen_device
from avss_core.models.refusals import (
    UNREACHABLE,
    damage,
    is_four_bit,
    not_found,
    refuse_adapter,
    refuse_code,
    refuse_quantized,
    refuse_repeated_keys,
    wrong_tensors,
)

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load_model(
    name: str,
    revision: str | None = None,
    *,
    dtype: str = "float32",
    device: str | None = "cpu",
    memory: Mapping[str | int, str | int] | None = None,
) -> PreTrainedModel:
    """Return a causal language model, or an encoder as what it was saved as, in evaluation mode.

    Warns of what was assumed if the family is not known.

    Args:
        name: an entry of `EMBEDDED`, a checkpoint folder, a GGUF file, or a Hub id.
        revision: Hub commit, tag or branch; None for a folder or the default branch.
        dtype: one of `DTYPES`.
        device: a torch device; None for the best that is there (cuda, mps, else cpu); or `spread`: accelerate
            spreads the layers over the GPUs, then memory, then disk, where they are read from the
            checkpoint's own files whenever they run.
        memory: with `spread`, the most to take of each GPU (by its number) and of `cpu`; None for what is
            free.

    Raises:
        FileNotFoundError: the model does not exist or cannot be reached.
        ValueError: the checkpoint is damaged, or does not hold exactly the tensors of its architecture.
        LookupError: the model family is not supported.
        ModuleNotFoundError: the weights have four bits, and bitsandbytes is not installed.
    """
    device = chosen_device(device)
    spread = device == SPREAD
    where, options = source(name, revision)
    config = load_config(name, revision)
    placed: dict[str, Any] = {"device_map": "auto", "max_memory": memory and dict(memory)} if spread else {}
    if is_four_bit(config.to_dict()):
        placed = placed or {"device_map": {"": device}}  # its weights go there as they are read
    folder = local_folder(name)
    if folder is not None:
        stored_tensors(folder)  # its errors name the file, the library's do not
    try:
        with damage(name):
            loaded: Any = _loader(config).from_pretrained(
                where,
                config=config,
                dtype=DTYPES[dtype],
                output_loading_info=True,
                use_safetensors=True,
                trust_remote_code=False,
                # Left to us to refuse: the library's own error names no tensor.
                ignore_mismatched_sizes=True,
                **placed,
                **options,
            )
    except UNREACHABLE as error:
        raise FileNotFoundError(not_found(name, revision, error)) from error
    model, loading = loaded
    problems = {kind: sorted(map(str, names)) for kind, names in loading.items() if names}
    if problems:
        raise ValueError(wrong_tensors(name, problems, depth(config)))
    head: Any = model.get_output_embeddings()
    # Weights that accelerate has offloaded stand in one place only where they are read.
    if not spread and head is not None and head.weight is not model.get_input_embeddings().weight:
        model.config.tie_word_embeddings = False  # the file has a head of its own, and so has what is written
    model.config.architectures = config.architectures
    blocks(model)  # of an unknown family they are looked for, which can fail
    try:
        ready: PreTrainedModel = (model if placed else model.to(device)).eval()
    except (RuntimeError, AssertionError) as error:  # torch raises either for a device that is not there
        reason = str(error).splitlines()[0]
        raise ValueError(f"cannot move the model to the device {device!r}: {reason}") from error
    return ready


def load_config(name: str, revision: str | None = None) -> PretrainedConfig:
    """Return the configuration of a model that can be loaded.

    Raises:
        FileNotFoundError: the model does not exist or cannot be reached.
        ValueError: the configuration is damaged, or names code that would have to be run or files elsewhere.
        LookupError: the model family is not supported.
    """
    where, options = source(name, revision)
    folder = local_folder(name)
    if folder is not None:
        refuse_repeated_keys(folder)
    try:
        with damage(name):
            if gguf_file(name) is None:
                settings = PretrainedConfig.get_config_dict(where, **options)[0]
                refuse_code(name, settings)
                refuse_quantized(name, settings)
                # A plug-in may tell transformers of the classes of its family.
                ARCHITECTURES.get(settings.get("model_type", ""))
            refuse_adapter(name, where, revision)
            if folder is not None and not (folder / "config.json").is_file():
                raise FileNotFoundError("it has no config.json")
            config: PretrainedConfig = AutoConfig.from_pretrained(
                where, trust_remote_code=False, **_plain(options)
            )
    except UNREACHABLE as error:
        raise FileNotFoundError(not_found(name, revision, error)) from error
    loader = _loader(config)
    if folder is not None and config.model_type in ENCODERS:
        _name_the_body(config, loader, folder)
    return config


def stored_dtype(name: str, revision: str | None = None) -> str | None:
    """Return the dtype of most weights of a checkpoint as `DTYPES` names it; None for another or a GGUF file.

    Of a model on the Hub it is the one that its configuration names.

    Raises:
        FileNotFoundError: as `load_config`.
        ValueError: as `load_config`.
        LookupError: as `load_config`.
    """
    if gguf_file(name) is not None:
        return None
    folder = local_folder(name)
    if folder is None:
        dtype = str(load_config(name, revision).dtype).removeprefix("torch.")
        return dtype if dtype in DTYPES else None
    sizes = Counter[str]()
    for tensor in stored_tensors(folder).values():
        sizes[tensor.dtype] += tensor.size
    return {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}.get(
        max(sizes, key=sizes.__getitem__, default="")
    )


def empty_model(config: PretrainedConfig, dtype: str) -> PreTrainedModel:
    """Return the model of a configuration on the meta device: its tensors take no memory."""
    loader = _loader(config)
    build: Any = getattr(loader, "from_config", None) or loader._from_config  # of an Auto class, of a model
    with torch.device("meta"):
        model: PreTrainedModel = build(copy.deepcopy(config), dtype=DTYPES[dtype]).eval()
    return model


def load_tokenizer(name: str, revision: str | None = None) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a model.

    Raises:
        FileNotFoundError: the tokenizer does not exist, cannot be reached, or needs code of its own.
        ValueError: a link in a folder leads out of it.
    """
    where, options = source(name, revision)
    try:
        with damage(name):
            tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
                where, trust_remote_code=False, **_plain(options)
            )
    except (*UNREACHABLE, ValueError) as error:
        raise FileNotFoundError(not_found(f"a tokenizer of {name}", revision, error)) from error
    # Without files some families come up with an empty vocabulary, which turns every text into nothing or
    # into unknown tokens.
    if set(tokenizer("a", add_special_tokens=False).input_ids) <= {tokenizer.unk_token_id}:
        raise FileNotFoundError(not_found(f"a tokenizer of {name}", revision, "it has no vocabulary"))
    return tokenizer


def fitted_tokenizer(tokenizer: PreTrainedTokenizerBase, embedded: int, name: str) -> PreTrainedTokenizerBase:
    """Return a tokenizer that gives no token beyond those that a model embeds.

    Many checkpoints add a token for padding, and no row for it. Here nothing is padded with it, so it is left
    out, and a text with its name is read as any other text.

    Raises:
        ValueError: a text may need another token that the model does not embed.
    """
    extra = {token: number for token, number in tokenizer.get_vocab().items() if number >= embedded}
    if not extra:
        return tokenizer
    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    needed = {getattr(tokenizer, f"{role}_token") for role in ("bos", "eos", "unk", "cls", "sep", "mask")}
    padding, template = tokenizer.pad_token, str(tokenizer.chat_template or "")
    if backend is None or extra.keys() != {padding} or padding in needed or str(padding) in template:
        raise ValueError(
            f"{name}: the tokenizer knows {len(tokenizer)} tokens, the model embeds only {embedded}; "
            "they do not belong together"
        )
    state = json.loads(backend.to_str())
    state["added_tokens"] = [token for token in state["added_tokens"] if token["id"] < embedded]
    fitted: Any = copy.copy(tokenizer)
    fitted._tokenizer = Tokenizer.from_str(json.dumps(state))
    return fitted  # type: ignore[no-any-return]


def has_tokenizer(folder: Path) -> bool:
    """Tell whether a checkpoint folder carries a tokenizer."""
    return any(
        (folder / name).exists() for name in ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")
    )


def _loader(config: PretrainedConfig) -> Any:
    """Return the class that loads a model.

    Raises:
        LookupError: the family is not known, and not a causal language model with a depth.
    """
    if config.model_type not in ARCHITECTURES:
        if type(config) not in AutoModelForCausalLM._model_mapping:
            architecture(config)  # raises
        depth_field(config)
        _refuse_encoder(config)
        return AutoModelForCausalLM
    if architecture(config).causal:
        return AutoModelForCausalLM
    if getattr(config, "is_decoder", False):
        raise LookupError(
            f"model type {config.model_type!r} with is_decoder in config.json is not supported: it is a "
            "decoder, and its record in avss_core/models/families.py is an encoder's"
        )
    # An encoder has a head for its task; loaded with another one, that would be random.
    names = config.architectures or []
    classes = [getattr(transformers, name, None) for name in names]
    suitable = [each for each in classes if getattr(each, "config_class", None) is type(config)]
    return suitable[0] if suitable else transformers.AutoModel


def _name_the_body(config: PretrainedConfig, loader: Any, folder: Path) -> None:
    """Correct the class that an encoder's configuration names where the folder holds no head of that class.

    Models of sentences often name the class that they were trained on from, and hold its body alone. A class
    with a head keeps its body under a prefix, which no tensor of such a folder has.
    """
    prefix = getattr(loader, "base_model_prefix", "")
    if not prefix or any(tensor.startswith(f"{prefix}.") for tensor in stored_tensors(folder)):
        return
    body: Any = transformers.AutoModel._model_mapping[type(config)]
    if loader is not body:
        warnings.warn(
            f"{folder} names {loader.__name__} in config.json and holds no head: read as {body.__name__}",
            stacklevel=3,
        )
        config.architectures = [body.__name__]


def _refuse_encoder(config: PretrainedConfig) -> None:
    """Raise LookupError for an encoder, which transformers would load as if it predicted the next token."""
    decodes = ("is_decoder", "is_encoder_decoder", "causal")
    if type(config) in AutoModelForMaskedLM._model_mapping and not any(
        getattr(config, name, False) for name in decodes
    ):
        raise LookupError(
            f"model type {config.model_type!r} is not supported: it is an encoder, which reads a text "
            f"in both directions (is_decoder is not set in config.json); encoders that can be pruned: "
            f"{', '.join(sorted(ENCODERS))}"
        )


def _plain(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options that a tokenizer or configuration takes."""
    return {key: value for key, value in options.items() if key != "quantization_config"}
