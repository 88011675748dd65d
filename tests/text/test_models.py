"""A model that cannot read a prompt, has diverged, or is wrapped is named, before it does anything."""

import copy
from contextlib import suppress
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPT2Model,
    PreTrainedTokenizerFast,
)

from veriloop import Key, State
from veriloop.text.models import check_finite_rows
from veriloop.text.problem import read_model, write_model
from veriloop.xsum import (
    FineTune,
    Generate,
    LogLikelihood,
    Measure,
    Problem,
    Prompt,
    fit_reward,
    save_reward,
)


def uses(prompt, pairs):
    """Everything that reads with a model, by name."""
    few = pairs[:4]
    generate = Generate(articles=few, prompt=prompt)
    return {
        "generate": lambda model: generate(Key(0), model, 4),
        "tune": lambda model: FineTune(prompt=prompt, batch=2, rate=1e-3)(Key(0), model, few),
        "likelihood": lambda model: LogLikelihood(model, prompt)(Key(0), few),
        "reward": lambda model: fit_reward(model, prompt, few, np.arange(4.0)),
        "measure": lambda model: Measure(generate=generate, resamples=2)(Key(0), model),
    }


@pytest.fixture(params=["generate", "tune", "likelihood", "reward", "measure"])
def use(request, prompt, pairs):
    return uses(prompt, pairs)[request.param]


@pytest.fixture
def gpt2(tokenizer):
    end = tokenizer.eos_token_id
    size = {"n_embd": 16, "n_layer": 1, "n_head": 2, "bos_token_id": end, "eos_token_id": end}
    return lambda places: GPT2LMHeadModel(
        GPT2Config(vocab_size=len(tokenizer), n_positions=places, **size)
    ).eval()


def test_a_context_that_is_too_short_is_refused(use, gpt2, network):
    """Of places that end, and of rotary ones, which would go on where nothing was learnt."""
    message = r"must be at most 131, the context of the model, got 120 \+ 12; lower one"
    for model in (gpt2(131), network(max_position_embeddings=131)):
        with pytest.raises(ValueError, match=message):
            use(model)
    use(gpt2(132))


def bart(words):
    layers = {
        "encoder_layers": 1,
        "decoder_layers": 1,
        "encoder_ffn_dim": 16,
        "decoder_ffn_dim": 16,
    }
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    return BartForConditionalGeneration(
        BartConfig(vocab_size=words, d_model=16, max_position_embeddings=200, **layers, **heads)
    )


def bert(words):
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    return BertForMaskedLM(BertConfig(vocab_size=words, intermediate_size=16, **size))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (bart, "a BartForConditionalGeneration, reads an input whole .* take a causal"),
        (bert, "a BertForMaskedLM, reads what comes after a token, too; take a causal"),
    ],
)
def test_a_model_that_does_not_read_token_after_token_is_refused(use, make, message, tokenizer):
    """It took part without an error, and what it wrote, learnt or scored meant nothing."""
    with pytest.raises(ValueError, match=message):
        use(make(len(tokenizer)))


def test_a_name_in_place_of_a_model_is_refused(use):
    """It was an AttributeError, or nothing at all before the first round."""
    with pytest.raises(TypeError, match=r"got str 'gpt2'; write model, tokenizer = load_base\("):
        use("gpt2")


@pytest.mark.parametrize("name", ["generate", "tune", "likelihood", "measure"])
def test_a_network_without_a_head_is_refused(name, prompt, pairs, tokenizer):
    """It was an AttributeError. A reward needs none: it has a head of its own."""
    bare = GPT2Model(GPT2Config(vocab_size=len(tokenizer), n_embd=16, n_layer=1, n_head=2)).eval()
    with pytest.raises(ValueError, match="a GPT2Model, has no head over tokens; load it as a"):
        uses(prompt, pairs)[name](bare)
    uses(prompt, pairs)["reward"](bare)


def test_a_problem_says_so_at_once(prompt, pairs, network):
    tune, generate = FineTune(prompt=prompt), Generate(articles=pairs, prompt=prompt)
    short = network(max_position_embeddings=100)
    with pytest.raises(ValueError, match="at most 100, the context of the model"):
        Problem(base=short, initial=pairs[:4], generate=generate, first=tune, refit=tune)


def test_a_new_end_token_without_an_embedding_is_named(tokenizer, pairs, network):
    """With the remedy, which helps."""
    other = PreTrainedTokenizerFast(tokenizer_object=copy.deepcopy(tokenizer._tokenizer))
    with pytest.raises(ValueError, match=r"the tokenizer has no end token.*resize_token_embed"):
        Prompt(other)
    other.add_special_tokens({"eos_token": "</s>"})
    prompt, model = Prompt(other, tokens=120, summary_tokens=12), network()
    message = r"token '</s>' has the number 500, and the model's embedding 500 rows; .*resize_token"
    for use in uses(prompt, pairs).values():
        with pytest.raises(ValueError, match=message):
            use(model)
    model.resize_token_embeddings(len(other), mean_resizing=False)
    for use in uses(prompt, pairs).values():
        use(model)


def test_a_token_of_the_text_without_an_embedding_is_named(tokenizer, pairs, network):
    """The end token has a row; another one has none."""
    model = network(vocab_size=300)
    for use in uses(Prompt(tokenizer, tokens=120, summary_tokens=12), pairs).values():
        with pytest.raises(
            ValueError, match=r"has the number \d{3}, and the model's embedding 300"
        ):
            use(model)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_weights_that_are_not_finite_are_named(use, network, value):
    model = network()
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight[0, 0] = value
    with pytest.raises(FloatingPointError, match=r"not finite|diverged"):
        use(model)


@pytest.mark.parametrize("rate", [1e3, 1e38])
def test_a_fit_that_diverges_says_at_which_step_and_rate(prompt, pairs, model, rate):
    tune = FineTune(prompt=prompt, batch=4, rate=rate, epochs=3)
    with pytest.raises(FloatingPointError, match=r"FineTune.* step \d+ .*rate,? (1000|1e\+38)"):
        tune(Key(0), model, pairs[:8])


def test_a_fit_that_ends_in_weights_that_are_not_finite_says_so(prompt, pairs, network):
    """No loss is computed after the last step."""
    model = network()
    with torch.no_grad():
        model.model.norm.weight.fill_(2.0)  # twice the decay is beyond float32
    tune = FineTune(prompt=prompt, batch=4, rate=3e37, weight_decay=10.0)
    with pytest.raises(
        FloatingPointError, match=r"FineTune, after step 1 at rate 3e\+37: .*not fi"
    ):
        tune(Key(0), model, pairs[:4])


def test_a_fit_started_from_weights_that_are_not_finite_names_one(prompt, pairs, network):
    model = network()
    with torch.no_grad():
        model.get_input_embeddings().weight[7, 0] = torch.nan  # of a token that may not occur
    message = r"before step 1 at rate 0\.001: the model has .* those of model\.embed_tokens\.weight"
    with pytest.raises(FloatingPointError, match=message):
        FineTune(prompt=prompt, rate=1e-3)(Key(0), model, pairs[:4])


def test_a_perplexity_beyond_all_numbers_is_said(prompt, pairs, network):
    model = network()
    with torch.no_grad():
        model.get_input_embeddings().weight.mul_(1e4)
    generate = Generate(articles=pairs[:4], prompt=prompt)
    with pytest.raises(FloatingPointError, match=r"Measure: perplexity is too large .* nats"):
        Measure(generate=generate, resamples=2)(Key(0), model)


def test_a_number_that_is_not_finite_is_named_by_its_row():
    rows = np.array([7, 3, 5])
    check_finite_rows(np.zeros(0), rows[:0], "the loss")
    check_finite_rows(np.zeros((3, 2)), rows, "the state")
    for numbers in (np.array([0.0, np.nan, np.inf]), np.array([[0, 0], [0, np.inf], [np.nan, 0]])):
        with pytest.raises(FloatingPointError, match="^the loss of row 3 is not finite"):
            check_finite_rows(numbers, rows, "the loss")


class Low(nn.Module):
    """A frozen layer and an update of low rank."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer
        self.down = nn.Linear(layer.in_features, 2, bias=False)
        self.up = nn.Linear(2, layer.out_features, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, x):
        return self.layer(x) + self.up(self.down(x))


class Inner(nn.Module):
    """What peft calls the base model of its wrapper: it runs the whole language model."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, **given):
        return self.model(**given)

    def __getattr__(self, name):
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("model"), name)


class Wrapper(nn.Module):
    """A language model with adapters, in the shape of peft's."""

    def __init__(self, model, **settings):
        super().__init__()
        self.base_model = Inner(model)
        self.peft_config = {"default": SimpleNamespace(**settings)}

    def get_base_model(self):
        return self.base_model.model

    def forward(self, **given):
        return self.base_model(**given)

    def __getattr__(self, name):
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("base_model"), name)


@pytest.fixture
def wrapped(network):
    model = network().requires_grad_(False)
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        for layer in model.model.layers:
            layer.self_attn.q_proj = Low(layer.self_attn.q_proj)
    return Wrapper(model, is_prompt_learning=False).eval()


def test_a_model_with_adapters_is_read_as_the_model_inside(wrapped, model, prompt, pairs):
    """New adapters change nothing, so every use gives what the plain model gives."""
    for name in ("generate", "likelihood", "measure", "reward"):
        use = uses(prompt, pairs)[name]
        got, wanted = use(wrapped), use(model)
        if name == "generate":
            assert got.summaries.tolist() == wanted.summaries.tolist()
        elif name == "reward":
            np.testing.assert_allclose(got.weights, wanted.weights, rtol=1e-5)
        else:
            np.testing.assert_equal(got, wanted)


def test_adapters_are_fitted_and_what_they_wrap_stays(wrapped, prompt, pairs):
    new = FineTune(prompt=prompt, rate=1e-2, batch=2)(Key(0), wrapped, pairs[:4])
    before, after = dict(wrapped.named_parameters()), dict(new.named_parameters())
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name, weight in before.items() if weight.requires_grad}


def test_adapters_that_would_be_written_without_their_base_are_refused(
    wrapped, prompt, pairs, tmp_path
):
    tune, generate = FineTune(prompt=prompt), Generate(articles=pairs, prompt=prompt)
    problem = Problem(base=wrapped, initial=pairs[:4], generate=generate, first=tune, refit=tune)
    reward = uses(prompt, pairs)["reward"](wrapped)
    message = r"of a Wrapper the adapter alone would be written.*merge_and_unload\(\)"
    with pytest.raises(ValueError, match=message):
        problem.save(State(wrapped), tmp_path)
    with pytest.raises(ValueError, match=message):
        save_reward(reward, tmp_path)


def test_adapters_of_another_kind_are_refused(network, prompt, pairs):
    virtual = Wrapper(network(), is_prompt_learning=True)
    with pytest.raises(ValueError, match="puts tokens before the text, which is not supported"):
        LogLikelihood(virtual, prompt)(Key(0), pairs[:2])
    unknown = Inner(Inner(network()))
    unknown.base_model = unknown.model
    with pytest.raises(
        ValueError, match="the model, a Inner, gives no last hidden state; if it is"
    ):
        LogLikelihood(unknown, prompt)(Key(0), pairs[:2])


def test_a_frozen_model_is_not_fitted(prompt, pairs, network):
    with pytest.raises(ValueError, match=r"no weight of the model can change; .*requires_grad_"):
        FineTune(prompt=prompt)(Key(0), network().requires_grad_(False), pairs[:4])


@pytest.mark.parametrize("name", ["generate", "likelihood", "reward", "measure"])
def test_a_model_in_training_mode_is_used_without_dropout_and_left_in_it(
    prompt, pairs, network, name
):
    """Dropout would draw from the global generator, so one key would give other numbers."""
    use = uses(prompt, pairs)[name]
    learning = network(attention_dropout=0.5).train()
    found = use(learning)
    wanted = use(network(attention_dropout=0.5).eval())
    if name == "generate":
        found, wanted = found.summaries, wanted.summaries
    if name == "reward":
        found, wanted = found.weights, wanted.weights
    np.testing.assert_equal(found, wanted)
    assert all(each.training for each in learning.modules())


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_weights_that_are_too_coarse_to_learn_are_named(prompt, pairs, network, kind):
    """At this rate bfloat16 takes 6 % of the changes, and float16 none: it overflows."""
    tune = FineTune(prompt=prompt, rate=5e-5)
    with pytest.warns(UserWarning, match=rf"the weights are {kind}.*call model\.float\(\)"):
        with suppress(FloatingPointError):
            tune(Key(0), network().to(kind), pairs[:4])


def test_weights_that_are_frozen_stay_so_on_disk(network, tmp_path):
    """A run that was stopped would learn them otherwise."""
    model = network()
    model.model.embed_tokens.weight.requires_grad_(False)
    write_model(model, tmp_path)
    back = read_model(tmp_path)
    frozen = [name for name, weight in back.named_parameters() if not weight.requires_grad]
    assert frozen == ["model.embed_tokens.weight"]
