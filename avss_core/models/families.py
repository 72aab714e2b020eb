"""What each model family calls its parts: one record per family, by the `model_type` of its configuration."""

from collections.abc import Mapping
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Architecture:
    """Where a family keeps its blocks, and what it calls the parts that other modules touch."""

    blocks: str
    """Dotted path of the list of blocks, below the base model, which classes with a head wrap."""
    depth: str
    """Name of the configuration field that counts the blocks."""
    linear: tuple[str, ...]
    """Names of the linear maps inside a block, the targets of LoRA."""
    attention: str = "self_attn"
    """Path of the attention inside a block; empty if unknown, like the next two."""
    mlp: str = "mlp"
    """Path of the module inside a block whose output is that of the MLP."""
    down: str = "mlp.down_proj"
    """Path of the projection inside a block that reads the MLP's activations."""
    down_norm: str = ""
    """Path of the norm inside a block through which the MLP's output enters the residual stream, where the
    family has one."""
    attention_out: str = "self_attn.o_proj"
    """Path of the projection inside a block that writes the attention's output; empty where not known."""
    attention_norm: str = ""
    """Path of the norm inside a block through which the attention's output enters the residual stream."""
    fan_in_fan_out: bool = False
    """Whether weights are stored as (in, out), as in GPT-2's `Conv1D`."""
    window: str = "sliding_window"
    """Name of the configuration field with the attention window's length."""
    causal: bool = True
    """False for encoders, which do not predict the next token."""
    stream_norm: str = ""
    """Path of the norm inside a block that makes its output of the residual stream and what the MLP adds, as
    in encoders; empty where none stands in the stream."""
    pads_first: bool = False
    """Whether positions are numbered from behind the padding token's id, as in RoBERTa."""


_GATED = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
_FUSED = ("query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h")
_FUSED_GATE = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_up_proj", "down_proj")
LLAMA = Architecture("layers", "num_hidden_layers", _GATED)
NORMED = replace(LLAMA, down_norm="post_feedforward_layernorm", attention_norm="post_attention_layernorm")
FUSED_GATE = Architecture("layers", "num_hidden_layers", _FUSED_GATE)

# Their logits are what the head puts out, but for `final_logit_softcapping`; families that scale them
# otherwise (Cohere, Granite) are left to what is done for those that are not known.
DECODERS: Mapping[str, Architecture] = {
    "falcon": Architecture(
        "h",
        "num_hidden_layers",
        _FUSED,
        attention="self_attention",
        down="mlp.dense_4h_to_h",
        attention_out="self_attention.dense",
    ),
    "gemma": LLAMA,
    "gemma2": NORMED,
    "gemma3_text": NORMED,
    "glm": FUSED_GATE,
    "glm4": replace(FUSED_GATE, down_norm="post_mlp_layernorm", attention_norm="post_self_attn_layernorm"),
    "gpt2": Architecture(
        "h",
        "n_layer",
        ("c_attn", "c_proj", "c_fc"),
        attention="attn",
        down="mlp.c_proj",
        attention_out="attn.c_proj",
        fan_in_fan_out=True,
    ),
    "gpt_neo": Architecture(
        "h",
        "num_layers",
        ("q_proj", "k_proj", "v_proj", "out_proj", "c_fc", "c_proj"),
        attention="attn",
        down="mlp.c_proj",
        attention_out="attn.attention.out_proj",
        window="window_size",
    ),
    "gpt_neox": Architecture(
        "layers",
        "num_hidden_layers",
        _FUSED,
        attention="attention",
        down="mlp.dense_4h_to_h",
        attention_out="attention.dense",
    ),
    "llama": LLAMA,
    "mistral": LLAMA,
    "olmo": LLAMA,
    "olmo2": NORMED,
    "olmo3": NORMED,
    "opt": Architecture(
        "decoder.layers",
        "num_hidden_layers",
        ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"),
        mlp="fc2",
        down="fc2",
        attention_out="self_attn.out_proj",
    ),
    "phi": Architecture(
        "layers",
        "num_hidden_layers",
        ("q_proj", "k_proj", "v_proj", "dense", "fc1", "fc2"),
        down="mlp.fc2",
        attention_out="self_attn.dense",
    ),
    "phi3": Architecture("layers", "num_hidden_layers", ("qkv_proj", "o_proj", "gate_up_proj", "down_proj")),
    "qwen2": LLAMA,
    "qwen3": LLAMA,
    "smollm3": LLAMA,
    "stablelm": LLAMA,
    "starcoder2": Architecture(
        "layers",
        "num_hidden_layers",
        ("q_proj", "k_proj", "v_proj", "o_proj", "c_fc", "c_proj"),
        down="mlp.c_proj",
    ),
}

BERT = Architecture(
    "encoder.layer",
    "num_hidden_layers",
    ("query", "key", "value", "dense"),
    attention="attention.output.dense",
    mlp="output.dense",
    down="output.dense",
    attention_out="attention.output.dense",
    causal=False,
    stream_norm="output.LayerNorm",
)
ROBERTA = replace(BERT, pads_first=True)

ENCODERS: Mapping[str, Architecture] = {
    "bert": BERT,
    "camembert": ROBERTA,
    "distilbert": Architecture(
        "transformer.layer",
        "n_layers",
        ("q_lin", "k_lin", "v_lin", "out_lin", "lin1", "lin2"),
        attention="attention",
        mlp="ffn",
        down="ffn.lin2",
        attention_out="attention.out_lin",
        causal=False,
        stream_norm="output_layer_norm",
    ),
    "electra": BERT,
    # One table of relative positions, beside the list of blocks, is handed to each of them.
    "mpnet": replace(
        ROBERTA,
        linear=("q", "k", "v", "o", "dense"),
        attention="attention.attn.o",
        attention_out="attention.attn.o",
    ),
    "roberta": ROBERTA,
    "xlm-roberta": ROBERTA,
}
