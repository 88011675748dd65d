"""Summaries follow model and key alone: not the batch, not the other rows, not the global generator."""

from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from veriloop import Key
from veriloop.text.padding import padded
from veriloop.text.running import Running
from veriloop.xsum import FineTune, Generate, LogLikelihood, Prompt, Summaries


def texts(rows):
    return rows.summaries.tolist()


@pytest.fixture(scope="module")
def oracle(prompt, pairs, model, tokenizer):
    """What transformers' own greedy decoding writes, one prompt at a time."""
    written = []
    for ids in prompt.prompts(pairs.articles):
        out = model.generate(
            torch.tensor([ids]),
            do_sample=False,
            max_new_tokens=12,
            pad_token_id=tokenizer.eos_token_id,
        )
        written.append(prompt.read(ids, out[0, len(ids) :].tolist()))
    return written


@pytest.mark.parametrize("batch", [1, 5, 24])
def test_greedy_summaries_are_those_of_transformers_whatever_the_batch(
    prompt, pairs, model, oracle, batch
):
    """Left padding, positions, cache and rows that leave the batch change nothing in float32."""
    rows = Generate(articles=pairs, prompt=prompt, batch=batch)(Key(0), model, len(pairs))
    assert texts(rows) == oracle and len(set(oracle)) > 1
    assert rows.references.tolist() == pairs.references.tolist()


def test_sampled_summaries_do_not_depend_on_the_batch_or_the_other_rows(prompt, pairs, model):
    make = {"articles": pairs, "prompt": prompt, "temperature": 1.0, "candidates": 2}
    whole = texts(Generate(**make, batch=48)(Key(1), model, 48))
    for batch in (1, 7):
        assert texts(Generate(**make, batch=batch)(Key(1), model, 48)) == whole
    assert texts(Generate(**make, batch=8)(Key(1), model, 11)) == whole[:11]
    assert texts(Generate(**make)(Key(2), model, 48)) != whole


def test_candidates_of_one_article_lie_together_and_keep_its_reference(prompt, model):
    """Also where two articles are the same: rows are joined by place, not by text."""
    twins = Summaries.of(["Rain fell."] * 2, ["Rain.", "Wet."])
    rows = Generate(articles=twins, prompt=prompt, temperature=1.0, candidates=3)(Key(0), model, 6)
    assert rows.prompts.tolist() == [0, 0, 0, 1, 1, 1]
    assert rows.references.tolist() == ["Rain."] * 3 + ["Wet."] * 3
    assert len(set(texts(rows)[:3])) > 1


class Fixed:
    """A model that writes a few tokens with the same chances, whatever it has read."""

    device = torch.device("cpu")

    def __init__(self, vocabulary, shares):
        self.logits = torch.full((1, 1, vocabulary), -torch.inf)
        for token, share in shares.items():
            self.logits[..., token] = np.log(share)

    def __call__(self, input_ids, **_):
        logits = self.logits.expand(len(input_ids), 1, -1)
        cache = SimpleNamespace(batch_select_indices=lambda rows: None)
        return SimpleNamespace(logits=logits, past_key_values=cache)


@pytest.mark.parametrize(
    ("top_p", "temperature", "wanted"),
    [
        (1.0, 1.0, [0.1, 0.5, 0.15, 0.25]),
        (0.7, 1.0, [0, 2 / 3, 0, 1 / 3]),
        (0.3, 1.0, [0, 1, 0, 0]),
        (1.0, 0.5, [0.1**2 / 0.345, 0.5**2 / 0.345, 0.15**2 / 0.345, 0.25**2 / 0.345]),
    ],
)
def test_tokens_are_drawn_by_their_probability(prompt, tokenizer, top_p, temperature, wanted):
    """Shares of four words in 2,000 summaries of twelve tokens by z, cut and sharpened as asked."""
    whole = [text for text in tokenizer.get_vocab() if text[0] == "Ġ" and text[1:].isalpha()]
    words = [text for text in whole if len(text) > 4][:4]
    shares = dict(zip(tokenizer.convert_tokens_to_ids(words), [0.1, 0.5, 0.15, 0.25], strict=True))
    one, rows = Summaries.of(["Rain fell."], ["Rain."]), 2000
    how = {"candidates": rows, "batch": rows, "temperature": temperature, "top_p": top_p}
    write = Generate(articles=one, prompt=prompt, **how)
    written = Counter(" ".join(texts(write(Key(0), Fixed(len(tokenizer), shares), rows))).split())
    n = rows * prompt.summary_tokens
    assert sum(written.values()) == n
    for word, p in zip(words, wanted, strict=True):
        assert abs(written[word[1:]] - n * p) <= 4 * np.sqrt(n * p * (1 - p))


@pytest.mark.parametrize("top_p", [1.0, 0.9999])
def test_the_largest_number_draws_no_token_without_probability(prompt, pairs, top_p):
    """Shares add up to a little less than 1 by rounding, and the last tokens may be impossible."""
    logits = torch.from_numpy(Key(3).numpy().normal(size=(8, 5000)))
    logits[:, 4000:] = -torch.inf
    shares = torch.softmax(logits, 1)
    assert (shares.cumsum(1)[:, -1] < 1 - 2**-53).any()
    write = Generate(articles=pairs, prompt=prompt, temperature=1.0, top_p=top_p)
    tokens = write._choose(logits, np.full(8, 1 - 2**-53))
    assert (tokens < 4000).all()


def test_a_model_that_ends_at_once_writes_nothing(prompt, pairs, tokenizer):
    ends = Fixed(len(tokenizer), {tokenizer.eos_token_id: 1.0})
    assert set(texts(Generate(articles=pairs, prompt=prompt)(Key(0), ends, 24))) == {""}


def test_the_global_generator_is_left_alone(prompt, pairs, model):
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    Generate(articles=pairs, prompt=prompt, temperature=1.0)(Key(0), model, 4)
    assert torch.equal(before, torch.random.get_rng_state())


def test_bf16_writes_by_a_copy_with_rounded_weights(has_bf16, prompt, pairs, network, oracle):
    """Weights alone, tied ones once; the model is left as it was; logits are hardly further off than autocast's."""
    model, ran = network(), []
    before = {name: value.clone() for name, value in model.state_dict().items()}
    hook = model.register_forward_pre_hook(lambda module, _: ran.append(module))  # copied along
    rows = Generate(articles=pairs, prompt=prompt, bf16=True)(Key(0), model, len(pairs))
    hook.remove()
    (twin,) = set(ran)
    assert {each.dtype for each in twin.parameters()} == {torch.bfloat16}
    assert twin.get_input_embeddings().weight is twin.get_output_embeddings().weight
    assert {each.dtype for each in twin.buffers()} == {torch.float32}
    ids = torch.tensor([prompt.prompts(pairs.articles)[0]])
    with torch.inference_mode():
        exact, rounded = model(ids).logits, twin(ids).logits.float()
        with torch.autocast("cpu", torch.bfloat16):
            usual = model(ids).logits.float()
    assert 0 < (rounded - exact).std() < 1.5 * (usual - exact).std()
    assert len(set(texts(rows))) > 1 and any(
        one == other for one, other in zip(texts(rows), oracle, strict=True)
    )
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"candidates": 2}, "decodes greedily, so several candidates would be the same"),
        ({"top_p": 0.9}, "decodes greedily, so top_p has no effect"),
        (
            {"temperature": 0.0},
            r"Generate\.temperature must be above 0, got 0\.0; leave it out, or give None",
        ),
        ({"temperature": 1.0, "top_p": 0.0}, r"Generate\.top_p must be in \(0, 1\], got 0\.0"),
        ({"batch": 0}, r"Generate\.batch must be an integer of at least 1, got 0"),
    ],
)
def test_settings_without_effect_or_sense_are_refused(prompt, pairs, settings, message):
    with pytest.raises(ValueError, match=message):
        Generate(articles=pairs, prompt=prompt, **settings)


def in_blocks(generate, model, sizes):
    """What a loop asks for: blocks under keys of their own, each starting where the last ended."""
    done, blocks = 0, []
    for number, n in enumerate(sizes):
        generate = generate.starting_at(done)
        blocks.append(generate(Key(0).fold(number), model, n))
        done += n
    return Summaries.concatenate(blocks)


@pytest.mark.parametrize("sizes", [(10, 10, 4), (1, 2, 21), (5, 5, 5, 5, 4)])
def test_blocks_go_on_where_the_last_one_ended(prompt, pairs, model, oracle, sizes):
    """Greedily the same rows as in one block; sampled, rows about the same articles."""
    greedy = in_blocks(Generate(articles=pairs, prompt=prompt), model, sizes)
    assert texts(greedy) == oracle and greedy.prompts.tolist() == list(range(24))
    sampled = Generate(articles=pairs[:8], prompt=prompt, temperature=1.0, candidates=3)
    rows = in_blocks(sampled, model, sizes)
    assert rows.prompts.tolist() == [row // 3 for row in range(24)]
    assert rows.articles.tolist() == pairs.articles[rows.prompts].tolist()


def test_a_position_is_a_value_and_changes_nothing_else(prompt, pairs, model):
    generate = Generate(articles=pairs, prompt=prompt, temperature=1.0)
    later = generate.starting_at(5)
    assert generate.first_row == 0 and later.starting_at(0) == generate
    assert later.starting_at(7) == generate.starting_at(7)  # counted from the round's first row
    assert later(Key(0), model, 3).prompts.tolist() == [5, 6, 7]
    with pytest.raises(ValueError, match="first_row must be an integer of at least 0, got -1"):
        generate.starting_at(-1)


def test_sampling_goes_round_and_writes_other_summaries(prompt, pairs, model):
    few = Generate(articles=pairs[:3], prompt=prompt, temperature=1.0, candidates=2)
    rows = few(Key(0), model, 14)
    assert rows.prompts.tolist() == [0, 0, 1, 1, 2, 2] * 2 + [0, 0]
    assert texts(rows)[:6] != texts(rows)[6:12] and texts(rows)[:6] == texts(few(Key(0), model, 6))
    nothing = Generate(articles=pairs[:0], prompt=prompt, temperature=1.0)
    with pytest.raises(ValueError, match="has no input, got n = 1; give it rows"):
        nothing(Key(0), model, 1)


def test_greedy_writing_beyond_the_articles_is_refused(prompt, pairs, model):
    generate = Generate(articles=pairs, prompt=prompt).starting_at(20)
    with pytest.raises(ValueError, match="at most 24 candidates, 1 of each input, got n = 25"):
        generate(Key(0), model, 5)


def test_two_sets_put_together_are_numbered_anew(prompt, pairs, model):
    """Their numbers collide; those that do not are kept."""
    both = Summaries.concatenate([pairs[:3], replace(pairs[3:6], prompts=np.arange(3))])
    write = Generate(articles=both, prompt=prompt, temperature=1.0, candidates=2)
    assert write(Key(0), model, 12).prompts.tolist() == np.repeat(np.arange(6), 2).tolist()
    own = Generate(articles=replace(both, prompts=np.arange(6) + 40), prompt=prompt)
    assert own(Key(0), model, 6).prompts.tolist() == list(range(40, 46))


class Says:
    """A model that writes the same tokens every time, and names the tokens that end it."""

    device = torch.device("cpu")

    def __init__(self, tokens, ends, vocabulary):
        self.tokens, self.vocabulary = tokens, vocabulary
        self.generation_config = SimpleNamespace(eos_token_id=ends)

    def __call__(self, input_ids, past_key_values, **_):
        step = 0 if past_key_values is None else past_key_values.step
        logits = torch.zeros(len(input_ids), 1, self.vocabulary)
        logits[..., self.tokens[step]] = 1
        cache = SimpleNamespace(step=step + 1, batch_select_indices=lambda rows: None)
        return SimpleNamespace(logits=logits, past_key_values=cache)


def test_a_summary_ends_at_any_end_token_of_the_model(tokenizer):
    """A second turn is neither written nor read; one token, several, or none may be named."""
    turn = tokenizer("~")["input_ids"][0]
    first = tokenizer(" Rain in Leeds.")["input_ids"]
    tokens = [*first, turn, *tokenizer(" Snow.")["input_ids"], tokenizer.eos_token_id]
    write = Generate(
        articles=Summaries.of(["A."], ["B."]), prompt=Prompt(tokenizer, summary_tokens=40)
    )
    for ends in (turn, [turn], [tokenizer.eos_token_id, turn]):
        said = write(Key(0), Says(tokens, ends, len(tokenizer)), 1)
        assert texts(said) == ["Rain in Leeds."]
    for ends in (None, tokenizer.eos_token_id, []):
        said = write(Key(0), Says(tokens, ends, len(tokenizer)), 1)
        assert texts(said) == ["Rain in Leeds.~ Snow."]


def test_nothing_is_written_after_a_text_that_stops(tokenizer):
    """The model is asked for no token more, and the summary has come to its end."""
    tokens = tokenizer(" Rain in Leeds.\n")["input_ids"]
    prompt = Prompt(tokenizer, summary_tokens=40, stop=["\n"])
    write = Generate(articles=Summaries.of(["A."], ["B."]), prompt=prompt)
    said = write(Key(0), Says(tokens, None, len(tokenizer)), 1)  # it has no further token to say
    assert texts(said) == ["Rain in Leeds."] and said.ended.all()


@pytest.mark.parametrize("batch", [1, 5, 24])
def test_a_text_that_stops_one_row_changes_no_other(prompt, pairs, model, oracle, batch):
    letter = Counter("".join(oracle)).most_common(8)[-1][0]
    stopping = replace(prompt, stop=[letter])
    rows = Generate(articles=pairs, prompt=stopping, batch=batch)(Key(0), model, len(pairs))
    assert texts(rows) == [text.partition(letter)[0].strip() for text in oracle]
    stopped = np.array([letter in text for text in oracle])
    assert stopped.any() and not stopped.all() and rows.ended[stopped].all()


def test_a_summary_that_was_cut_is_known(prompt, pairs, model, tokenizer):
    """Whether the model wrote an end within the limit; what it wrote is then taught without one."""
    first = tokenizer(" Rain in Leeds.")["input_ids"]
    says = Says([*first, tokenizer.eos_token_id], None, len(tokenizer))
    one = pairs[:1]
    for room, ended in ((len(first), False), (len(first) + 1, True)):
        short = Prompt(tokenizer, tokens=120, summary_tokens=room)
        rows = Generate(articles=one, prompt=short)(Key(0), says, 1)
        assert texts(rows) == ["Rain in Leeds."] and rows.ended.tolist() == [ended]
        ((ids, start),) = short.examples(rows.articles, rows.summaries, rows.ended)
        assert ids[start:] == [*first, tokenizer.eos_token_id][:room]


def test_padding_by_the_end_token_changes_nothing(pairs, tokenizer):
    """One end a row has a loss, and none of the padding."""
    end = tokenizer.eos_token_id
    prompt = Prompt(tokenizer, tokens=160, summary_tokens=64)
    tokens, seen, scored = padded(prompt.examples(pairs.articles, pairs.summaries), end)
    ends = tokens == end
    assert (ends & scored).sum(1).tolist() == [1] * len(pairs)
    assert not (scored & ~seen.bool()).any()


def test_more_candidates_than_there_are_is_refused(prompt, pairs, model):
    with pytest.raises(
        ValueError, match="at most 24 candidates, 1 of each input, got n = 25; ask for fewer"
    ):
        Generate(articles=pairs, prompt=prompt)(Key(0), model, 25)


@pytest.mark.parametrize("temperature", [None, 1.0])
def test_infinite_logits_are_refused(prompt, pairs, tokenizer, temperature):
    """Their softmax is NaN, and any token would be drawn."""
    diverged = Fixed(len(tokenizer), {3: np.inf, 4: 0.5})
    write = Generate(articles=pairs, prompt=prompt, temperature=temperature)
    with pytest.raises(FloatingPointError, match=r"logits are NaN or infinite, so it has diverged"):
        write(Key(0), diverged, 2)


@pytest.mark.parametrize("n", [-1, 2.0, True])
def test_a_number_of_summaries_is_an_integer(prompt, pairs, model, n):
    with pytest.raises(ValueError, match=r"Generate: n must be an integer of at least 0, got"):
        Generate(articles=pairs, prompt=prompt)(Key(0), model, n)


def test_what_is_no_prompt_is_refused_at_the_door(tokenizer, pairs, model):
    for make in (
        lambda: Generate(articles=pairs, prompt=tokenizer),
        lambda: FineTune(prompt=tokenizer),
        lambda: LogLikelihood(model, tokenizer),
    ):
        with pytest.raises(TypeError, match=r"\.prompt must be a Prompt, got TokenizersBackend"):
            make()


def test_a_model_without_a_cache_is_refused(prompt, pairs):
    def without(**given):
        return SimpleNamespace(logits=torch.zeros(len(given["input_ids"]), 1, 500))

    running = Running([[5, 6]], prompt.end, 4, torch.device("cpu"))
    with pytest.raises(ValueError, match="a function has none; take another model"):
        running.logits(without)
