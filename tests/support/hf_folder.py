"""Tiny Hugging Face model folders, written with the standard library alone.

    tensors = random_tensors(tiny_config("qwen3"), seed=1)
    write_folder(path, config, tensors, dtype="BF16")

A tensor is (shape, bytes in its dtype); read_tensors gives the same back from any folder."""
import json
import pathlib
import random
import struct

WIDTH = {"F32": 4, "BF16": 2, "F16": 2, "I64": 8, "F64": 8, "U8": 1}


def tiny_config(model_type="qwen3", **changes):
    config = {"architectures": ["Qwen3ForCausalLM" if model_type == "qwen3" else
                                "LlamaForCausalLM"],
              "model_type": model_type, "vocab_size": 257, "hidden_size": 64,
              "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
              "num_key_value_heads": 2, "head_dim": 24, "hidden_act": "silu",
              "max_position_embeddings": 64, "rms_norm_eps": 1e-6, "rope_theta": 1000000.0,
              "tie_word_embeddings": True, "initializer_range": 0.02, "torch_dtype": "float32"}
    config.update(changes)
    return {key: value for key, value in config.items() if value != "absent"}


def tiny_moe_config(**changes):
    """Experts in the second block of three, as transformers 4 says it."""
    return tiny_config("qwen3_moe", **{
        "architectures": ["Qwen3MoeForCausalLM"], "num_hidden_layers": 3, "num_experts": 4,
        "num_experts_per_tok": 2, "moe_intermediate_size": 40, "norm_topk_prob": True,
        "decoder_sparse_step": 1, "mlp_only_layers": [0, 2], "router_aux_loss_coef": 0.002,
        **changes})


def tiny_gpt2_config(**changes):
    """With GPT-2's own names; n_inner is absent in the published files, too."""
    config = {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "vocab_size": 257,
              "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 64,
              "layer_norm_epsilon": 1e-5, "activation_function": "gelu_new",
              "initializer_range": 0.02, "torch_dtype": "float32"}
    config.update(changes)
    return config


def gpt2_shapes(config):
    """Matrices are (in, out), and q, k and v are one."""
    H, F = config["n_embd"], config.get("n_inner") or 4 * config["n_embd"]
    result = {"transformer.wte.weight": [config["vocab_size"], H],
              "transformer.wpe.weight": [config["n_positions"], H]}

    def add(name, shape):
        result[name + ".weight"], result[name + ".bias"] = shape, shape[-1:]
    for layer in range(config["n_layer"]):
        p = f"transformer.h.{layer}."
        for name, shape in (("ln_1", [H]), ("attn.c_attn", [H, 3 * H]), ("attn.c_proj", [H, H]),
                            ("ln_2", [H]), ("mlp.c_fc", [H, F]), ("mlp.c_proj", [F, H])):
            add(p + name, shape)
    add("transformer.ln_f", [H])
    return result


def shapes(config):
    if config["model_type"] == "gpt2":
        return gpt2_shapes(config)
    H, F, V = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    D = config["head_dim"]
    q, kv = config["num_attention_heads"] * D, config["num_key_value_heads"] * D
    result = {"model.embed_tokens.weight": [V, H]}
    for layer in range(config["num_hidden_layers"]):
        p = f"model.layers.{layer}."
        result[p + "input_layernorm.weight"] = [H]
        result[p + "self_attn.q_proj.weight"] = [q, H]
        result[p + "self_attn.k_proj.weight"] = [kv, H]
        result[p + "self_attn.v_proj.weight"] = [kv, H]
        result[p + "self_attn.o_proj.weight"] = [H, q]
        if config["model_type"].startswith("qwen3"):
            result[p + "self_attn.q_norm.weight"] = [D]
            result[p + "self_attn.k_norm.weight"] = [D]
        result[p + "post_attention_layernorm.weight"] = [H]
        if is_sparse(config, layer):
            add_experts(result, p + "mlp.", config)
            continue
        result[p + "mlp.gate_proj.weight"] = [F, H]
        result[p + "mlp.up_proj.weight"] = [F, H]
        result[p + "mlp.down_proj.weight"] = [H, F]
    result["model.norm.weight"] = [H]
    if not config["tie_word_embeddings"]:
        result["lm_head.weight"] = [V, H]
    return result


def is_sparse(config, layer):
    return (config["model_type"] == "qwen3_moe" and layer not in config["mlp_only_layers"]
            and (layer + 1) % config["decoder_sparse_step"] == 0)


def num_experts(config):
    return config.get("num_experts") or config["num_local_experts"]


def add_experts(result, p, config):
    H, Fe = config["hidden_size"], config["moe_intermediate_size"]
    result[p + "gate.weight"] = [num_experts(config), H]
    for expert in range(num_experts(config)):
        for part, shape in (("gate", [Fe, H]), ("up", [Fe, H]), ("down", [H, Fe])):
            result[f"{p}experts.{expert}.{part}_proj.weight"] = shape


def joined_experts(config, tensors):
    """The same tensors with the experts of a block together, as transformers 5 has them in memory:
    gate_up_proj (E, 2 Fe, H), an expert's gate before its up, and down_proj (E, H, Fe)."""
    result = {name: value for name, value in tensors.items() if ".experts." not in name}
    H, Fe, E = config["hidden_size"], config["moe_intermediate_size"], num_experts(config)
    for layer in filter(lambda layer: is_sparse(config, layer), range(config["num_hidden_layers"])):
        p = f"model.layers.{layer}.mlp.experts."

        def bytes_of(parts):
            return b"".join(tensors[f"{p}{expert}.{part}_proj.weight"][1]
                            for expert in range(E) for part in parts)
        result[p + "gate_up_proj"] = ([E, 2 * Fe, H], bytes_of(("gate", "up")))
        result[p + "down_proj"] = ([E, H, Fe], bytes_of(("down",)))
    return result


def encode(value, dtype):
    if dtype == "F32":
        return struct.pack("<f", value)
    if dtype == "F16":
        return struct.pack("<e", value)
    assert dtype == "BF16"
    return struct.pack("<f", value)[2:]  # truncated: any bf16 will do


def random_tensors(config, dtype="F32", seed=1):
    source = random.Random(seed)
    result = {}
    for name, shape in shapes(config).items():
        count = 1
        for extent in shape:
            count *= extent
        mean = 1.0 if "norm" in name else 0.0
        result[name] = (shape, b"".join(encode(source.gauss(mean, 0.05), dtype)
                                        for _ in range(count)))
    return result


def safetensors(tensors, dtype="F32", header=None):
    """Bytes of a file; `header` changes the dictionary of the header before it is written."""
    entries, data = {"__metadata__": {"format": "pt"}}, b""
    for name, (shape, values) in tensors.items():
        entries[name] = {"dtype": dtype, "shape": shape,
                         "data_offsets": [len(data), len(data) + len(values)]}
        data += values
    if header is not None:
        header(entries)
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text + data


def write_folder(path, config, tensors, dtype="F32", files=1):
    path = pathlib.Path(path)
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps(config))
    if files == 1:
        (path / "model.safetensors").write_bytes(safetensors(tensors, dtype))
        return path
    weight_map = {}
    names = list(tensors)
    for i in range(files):
        own = names[i::files]
        name = f"model-{i + 1:05}-of-{files:05}.safetensors"
        (path / name).write_bytes(safetensors({n: tensors[n] for n in own}, dtype))
        weight_map.update({n: name for n in own})
    (path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return path


def read_file(path):
    blob = pathlib.Path(path).read_bytes()
    size = struct.unpack("<Q", blob[:8])[0]
    header = json.loads(blob[8:8 + size])
    header.pop("__metadata__", None)
    return {name: (entry["dtype"], entry["shape"],
                   blob[8 + size + entry["data_offsets"][0]:8 + size + entry["data_offsets"][1]])
            for name, entry in header.items()}


def read_tensors(folder):
    """name -> (dtype, shape, bytes) of all safetensors files of a folder."""
    result = {}
    for path in sorted(pathlib.Path(folder).glob("*.safetensors")):
        result.update(read_file(path))
    return result
