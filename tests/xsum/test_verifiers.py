"""Each verifier scores what it says; ROUGE is the package's to the bit; a judge that fails does no harm."""

import json
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from veriloop import Key, Loop, State, all_of
from veriloop.testing import check_verifier
from veriloop.xsum import (
    Brevity,
    Endpoint,
    Evaluated,
    LittleCopying,
    LittleRepetition,
    LogLikelihood,
    PartialReference,
    RougeVerifier,
    ScoreNoise,
    Summaries,
    copying,
    repetition,
    rouge,
    verifiers,
)

KINDS = ("rouge1", "rouge2", "rougeL")
words = st.lists(
    st.sampled_from(["fire", "Fires", "running", "ran", "the", "Leeds,", "a-b", "10", "", "é", "\n"]), max_size=9
)
ORACLE = RougeScorer(list(KINDS), use_stemmer=True)


@pytest.fixture
def written(pairs):
    """Summaries of other articles in place of half of the right ones."""
    mixed = pairs.summaries.copy()
    mixed[::2] = pairs.summaries[::2][::-1]
    return replace(pairs, summaries=mixed)


@settings(max_examples=200, deadline=None)
@given(reference=words.map(" ".join), summary=words.map(" ".join))
def test_rouge_is_the_packages_to_the_bit(reference, summary):
    wanted = ORACLE.score(reference, summary)
    for kind in KINDS:
        assert rouge(kind, [reference], [summary])[0] == wanted[kind].fmeasure


def test_both_engines_agree_on_reports(written, monkeypatch):
    """The fast one where it is installed, the plain one where it is not: the same bits."""
    pytest.importorskip("rouge_score_rs")
    import sys

    for kind in KINDS:
        fast = rouge(kind, written.references, written.summaries)
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, "rouge_score_rs", None)
            patch.setitem(sys.modules, "rouge_score_rs.rouge_scorer", None)
            verifiers._scorer.cache_clear()
            np.testing.assert_array_equal(rouge(kind, written.references, written.summaries), fast)
        verifiers._scorer.cache_clear()


def test_the_rouge_verifier_scores_row_by_row(written):
    for kind in KINDS:
        scores = RougeVerifier(kind)(Key(0), written)
        assert (scores[1::2] == 1).all() and (scores[::2] < 1).any()
        check_verifier(RougeVerifier(kind), written)
    with pytest.raises(ValueError, match="rouge1, rouge2, rougeL, got 'rouge3'"):
        RougeVerifier("rouge3")
    with pytest.raises(ValueError, match="rouge knows rouge1"):
        rouge("bleu", [], [])


class Overlap:
    """What `evaluate` calls a metric: the share of a summary's words that its reference has, over all or each."""

    def __init__(self):
        self.calls = 0

    def compute(self, *, predictions, references, each=False, wrong=False):
        self.calls += 1
        pairs = [(p.split(), r.split()) for p, r in zip(predictions, references, strict=True)]
        shares = [sum(word in known for word in words) / len(words) for words, known in pairs]
        return {"overlap": (shares * 2 if wrong else shares) if each else sum(shares) / len(shares)}


def test_any_metric_scores_row_by_row_or_by_its_own_list(written):
    single, listed = Overlap(), Overlap()
    scores = Evaluated(single, "overlap", cut=0.25)(Key(0), written)
    for summary, reference, score in zip(written.summaries, written.references, scores, strict=True):
        words = summary.split()
        assert score == sum(word in reference.split() for word in words) / len(words) - 0.25
    other = Evaluated(listed, "overlap", cut=0.25, options={"each": True})
    np.testing.assert_array_equal(other(Key(0), written), scores)
    assert listed.calls == 1 and (scores[1::2] == 0.75).all() and (scores[::2] < 0.75).any()
    for verifier in (other, Evaluated(Overlap(), "overlap")):
        check_verifier(verifier, written)
        assert verifier(Key(0), written[:0]).shape == (0,)


def test_a_row_that_a_metric_divides_by_zero_on_has_no_verdict(written):
    rows = replace(written, summaries=np.array(["", *written.summaries[1:]], dtype=object))
    for options in ({}, {"each": True}):
        scores = Evaluated(Overlap(), "overlap", options=options)(Key(0), rows)
        assert np.isnan(scores[0]) and not np.isnan(scores[1:]).any()


def test_a_metric_that_cannot_be_had_or_has_no_such_value_is_one_sentence(written, monkeypatch):
    import sys

    with pytest.raises(ValueError, match=r"Evaluated\.value must be among overlap, got 'bleu'"):
        Evaluated(Overlap(), "bleu")(Key(0), written)
    with pytest.raises(ValueError, match=r"must be one number, or one a row, got 48 numbers of 'overlap' for 24"):
        Evaluated(Overlap(), "overlap", options={"each": True, "wrong": True})(Key(0), written)
    monkeypatch.setitem(sys.modules, "evaluate", None)
    with pytest.raises(ValueError, match=r"^the metric bleu needs the package evaluate, .* the extra \[metrics\]$"):
        Evaluated("bleu", "bleu")


SCRIPT = """
import datasets
import evaluate


class Length(evaluate.Metric):
    def _info(self):
        features = datasets.Features({name: datasets.Value("string") for name in ("predictions", "references")})
        return evaluate.MetricInfo(description="", citation="", inputs_description="", features=features)

    def _compute(self, predictions, references, unit=1):
        return {"words": sum(len(p.split()) - len(r.split()) for p, r in zip(predictions, references)) / unit}
"""


def test_a_script_of_the_package_evaluate(written, tmp_path):
    """The package itself, on a metric of its own kind in a folder; and one sentence for a folder without one."""
    pytest.importorskip("evaluate", reason="the extra [metrics] is not installed")
    folder = tmp_path / "length"
    folder.mkdir()
    (folder / "length.py").write_text(SCRIPT)
    verifier = Evaluated(str(folder), "words", cut=-0.5, options={"unit": 2})
    lengths = [[len(text.split()) for text in texts] for texts in (written.summaries, written.references)]
    np.testing.assert_array_equal(verifier(Key(0), written), np.subtract(*lengths) / 2 + 0.5)
    check_verifier(verifier, written)
    with pytest.raises(ValueError, match=r"^the metric .*none cannot be had \(.*\); name the folder of its script"):
        Evaluated(str(tmp_path / "none"), "words")


def test_rules_by_hand():
    rows = Summaries.of(
        ["the old bridge is shut for repairs"] * 3, ["-"] * 3, ["old bridge is shut", "a a a a", ""]
    )
    assert Brevity(3)(Key(0), rows).tolist() == [-1, -1, 3]
    assert LittleRepetition(0.5, 2)(Key(0), rows) == pytest.approx([0.5, 0.5 - 2 / 3, 0.5])
    assert LittleCopying(0.5, 2)(Key(0), rows) == pytest.approx([-0.5, 0.5, 0.5])
    assert repetition("one", 2) == copying("a b", "one", 2) == 0.0
    for verifier in (Brevity(3), LittleRepetition(), LittleCopying()):
        check_verifier(verifier, rows)


def test_partial_references_leave_the_same_articles_without_a_verdict(written):
    verifier = PartialReference(RougeVerifier(), 0.5)
    scores = verifier(Key(0), written).scores
    known = ~np.isnan(scores)
    assert 0 < known.sum() < len(written)
    np.testing.assert_array_equal(scores[known], RougeVerifier()(Key(0), written)[known])
    np.testing.assert_array_equal(np.isnan(verifier(Key(1), written[::-1]).scores), ~known[::-1])
    with pytest.raises(ValueError, match=r"PartialReference\.share must be in \(0, 1\], got 0"):
        PartialReference(RougeVerifier(), 0)


def test_noise_has_its_scale_and_follows_the_key(pairs):
    rows = pairs[np.zeros(4000, dtype=int)]
    noise = ScoreNoise(Brevity(0), 0.3)(Key(0), rows).scores - Brevity(0)(Key(0), rows)
    assert abs(noise.mean()) / (0.3 / np.sqrt(4000)) < 4
    assert abs(noise.std() / 0.3 - 1) / np.sqrt(1 / 8000) < 4
    assert (ScoreNoise(Brevity(0), 0.0)(Key(0), pairs).scores == Brevity(0)(Key(0), pairs)).all()
    with pytest.raises(ValueError, match=r"ScoreNoise\.scale must be at least 0 and finite, got -1"):
        ScoreNoise(Brevity(0), -1)


def test_noise_and_partial_knowledge_take_composed_verifiers(written):
    """What `all_of` returns has parts; its scores are what counts."""
    both = all_of(RougeVerifier(), Brevity(9))
    wanted = both(Key(0), written).scores
    noiseless = ScoreNoise(both, 0.0)(Key(0), written)
    np.testing.assert_array_equal(noiseless.scores, wanted)
    assert list(noiseless.parts) == list(both(Key(0), written).parts)
    np.testing.assert_array_equal(PartialReference(both, 1.0)(Key(0), written).scores, wanted)


def test_a_likelihood_is_the_mean_of_its_tokens(written, prompt, model):
    """Whatever the batch; against logits of one row at a time."""
    scores = LogLikelihood(model, prompt, cut=-3.0, batch=7)(Key(0), written)
    np.testing.assert_allclose(scores, LogLikelihood(model, prompt, cut=-3.0, batch=1)(Key(0), written), rtol=1e-4)
    (ids, start), *_ = prompt.examples(written.articles, written.summaries)
    with torch.no_grad():
        logs = model(torch.tensor([ids])).logits[0].log_softmax(1)
    wanted = np.mean([float(logs[i - 1, ids[i]]) for i in range(start, len(ids))])
    assert scores[0] == pytest.approx(wanted + 3.0, rel=1e-4)
    check_verifier(LogLikelihood(model, prompt), written)


@contextmanager
def judge(*answers):
    """A server that gives one answer after another, the last one for ever; yields its URL and what it was asked.

    An answer is a status and a body; without a status (None) the body is all that is sent.
    """
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            asked.append((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
            status, body = answers[min(len(asked), len(answers)) - 1]
            if status is not None:
                self.send_response(status)
                self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def says(text):
    return 200, json.dumps({"choices": [{"message": {"content": text}}]})


def test_a_judge_is_asked_and_its_number_read(pairs):
    with judge(says("7"), says(" 9.5 of 10"), says("3.")) as (url, asked):
        scores = Endpoint(url, "small", limit=5.0)(Key(0), pairs[:3])
    assert scores.tolist() == [2.0, 4.5, -2.0]
    path, body = asked[0]
    assert path == "/v1/chat/completions" and body["model"] == "small"
    assert (
        pairs.articles[0] in body["messages"][0]["content"] and pairs.summaries[0] in body["messages"][0]["content"]
    )


def test_a_judge_is_asked_about_any_rows_by_a_question_of_your_own():
    """One text a row, of rows that know nothing of articles and summaries."""

    def question(batch):
        return [f"Is {value:g} a good number?" for value in batch]

    with judge(says("9"), says("2")) as (url, asked):
        scores = Endpoint(url, "small", question=question)(Key(0), np.array([0.5, 3.0]))
        with pytest.raises(ValueError, match=r"Endpoint\.question must give one text a row, got 1 for 2 rows"):
            Endpoint(url, "small", question=lambda batch: ["all?"])(Key(0), np.array([0.5, 3.0]))
        with pytest.raises(ValueError, match=r"Endpoint\.question must give one text a row, got \[0\.5\]"):
            Endpoint(url, "small", question=lambda batch: [[0.5], [3.0]])(Key(0), np.array([0.5, 3.0]))
    assert scores.tolist() == [4.0, -3.0]
    assert [body["messages"][0]["content"] for _, body in asked] == [
        "Is 0.5 a good number?",
        "Is 3 a good number?",
    ]


@pytest.mark.parametrize("answer", ["good", "", "11", "-1", "nan"])
def test_an_answer_that_is_no_number_in_range_is_no_verdict(pairs, answer):
    """Asked once: asking again would not be the same question."""
    with judge(says(answer)) as (url, asked):
        scores = Endpoint(url, "small", wait=0.0)(Key(0), pairs[:1])
    assert np.isnan(scores).all() and len(asked) == 1


FAILURES = {
    "error": (500, "busy"),
    "no json": (200, "not json"),
    "no choice": (200, '{"choices": []}'),
    "a list": (200, "[]"),
    "no http": (None, "nonsense\r\n"),
    "cut short": (None, "HTTP/1.0 200 OK\r\nContent-Length: 99\r\n\r\n{"),
}


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
def test_a_failing_judge_is_asked_again_a_bounded_number_of_times(pairs, failure):
    with judge(failure, failure, says("8")) as (url, asked):
        assert Endpoint(url, "small", retries=2, wait=0.0)(Key(0), pairs[:1]).tolist() == [3.0]
        assert len(asked) == 3
    with (
        judge(failure) as (url, asked),
        pytest.warns(UserWarning, match="judge failed 2 times, no verdict for 1 row"),
    ):
        scores = Endpoint(url, "small", retries=1, wait=0.0)(Key(0), pairs[:2])
        assert np.isnan(scores).all() and len(asked) == 4


def test_waits_double_and_a_failure_costs_its_own_row_only(pairs, monkeypatch):
    """Retrying is `Retry`'s, a row at a time: every row has all its tries, and the others their scores."""
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    busy = FAILURES["error"]
    with judge(says("8"), busy, busy, busy, says("6")) as (url, asked):
        with pytest.warns(
            UserWarning, match="judge failed 3 times, no verdict for 1 row; HTTPError: HTTP Error 500"
        ):
            scores = Endpoint(url, "small", retries=2, wait=0.5)(Key(0), pairs[:3])
    np.testing.assert_array_equal(scores, [3.0, np.nan, 1.0])
    assert slept == [0.5, 1.0] and len(asked) == 5


def test_a_judge_that_fails_crashes_no_round_and_is_counted(pairs):
    """Rows without a verdict are in the record and not in what the model is fitted to."""
    loop = Loop(
        generate=lambda key, model, n: pairs[np.arange(n)],
        refit=lambda key, model, batch: list(batch.prompts),
    )
    with judge(says("8"), FAILURES["no http"], says("no idea"), says("6")) as (url, _):
        with pytest.warns(UserWarning, match="judge failed 1 time, no verdict for 1 row"):
            verify = Endpoint(url, "small", retries=0)
            state, record = replace(loop, verify=verify).step(Key(0), State(None), 4)
    assert record.metrics["no_verdict"] == 2 and record.kept == 2
    assert state.model == list(pairs.prompts[[0, 3]])


def test_a_judge_that_is_down_or_too_slow_gives_no_verdict(pairs):
    with judge(says("5")) as (url, _):
        pass
    with pytest.warns(UserWarning, match="judge failed 2 times, no verdict for 1 row; URLError: .*refused"):
        assert np.isnan(Endpoint(url, "small", retries=1, wait=0.0)(Key(0), pairs[:1])).all()
    release = threading.Event()

    class Slow(BaseHTTPRequestHandler):
        def do_POST(self):
            release.wait(10)

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Slow)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_port}"
        with pytest.warns(UserWarning, match="judge failed 1 time, no verdict for 1 row; TimeoutError: timed out"):
            assert np.isnan(Endpoint(url, "small", retries=0, timeout=0.2)(Key(0), pairs[:1])).all()
    finally:
        release.set()
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"retries": -1}, r"Endpoint\.retries must be an integer of at least 0, got -1"),
        ({"wait": -1.0}, r"Retry\.wait must be at least 0 and finite, got -1\.0"),
    ],
)
def test_tries_that_make_no_sense_are_refused_at_once(settings, message):
    with pytest.raises(ValueError, match=message):
        Endpoint("http://localhost/v1", "small", **settings)


def test_what_is_no_url_is_refused():
    with pytest.raises(ValueError, match=r"Endpoint\.url must begin with http:// or https://, got 'localhost'"):
        Endpoint("localhost", "small")
