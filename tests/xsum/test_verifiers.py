"""Verifiers of summaries that a configuration names."""

import numpy as np

from veriloop import Key, build
from veriloop.xsum import LogLikelihood, Prompt


def test_a_likelihood_is_read_from_a_folder(model, tokenizer, pairs, tmp_path):
    """It scores as the model itself does, by the same prompt."""
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    spec = {"call": "veriloop.xsum:load_likelihood", "source": str(tmp_path), "tokens": 60}
    found = build({**spec, "summary_tokens": 12})(Key(0), pairs)
    own = LogLikelihood(model, Prompt(tokenizer, tokens=60, summary_tokens=12))
    np.testing.assert_array_equal(found, own(Key(0), pairs))
