"""Conditional autoencoders of digits under trained verifiers; needs the extra [mnist]."""

from veriloop.core.checks import check_installed

check_installed("veriloop.mnist", "torch", "torchvision", "safetensors")

from veriloop.mnist.cvae import CVAE, MLPCVAE, ConvCVAE
from veriloop.mnist.data import Data, balanced, have_mnist, load
from veriloop.mnist.distances import frechet_distance, precision_recall
from veriloop.mnist.features import DigitOracle, FeatureNet, feature_net
from veriloop.mnist.generate import Generate, probabilities
from veriloop.mnist.images import Images
from veriloop.mnist.inception import Inception
from veriloop.mnist.metrics import Measure, nelbo
from veriloop.mnist.problem import Problem, retrained
from veriloop.mnist.refit import Refit, observe
from veriloop.mnist.training import Fitted, Training, fit, new_network
from veriloop.mnist.verifiers import Discriminate, Discriminator, Judge, TopPerDraw, accuracy

__all__ = [
    "CVAE",
    "MLPCVAE",
    "ConvCVAE",
    "Data",
    "DigitOracle",
    "Discriminate",
    "Discriminator",
    "FeatureNet",
    "Fitted",
    "Generate",
    "Images",
    "Inception",
    "Judge",
    "Measure",
    "Problem",
    "Refit",
    "TopPerDraw",
    "Training",
    "accuracy",
    "balanced",
    "feature_net",
    "fit",
    "frechet_distance",
    "have_mnist",
    "load",
    "nelbo",
    "new_network",
    "observe",
    "precision_recall",
    "probabilities",
    "retrained",
]
