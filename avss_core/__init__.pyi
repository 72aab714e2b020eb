"""The public names, each with its home; `__init__.py` loads a name when it is first asked for."""

from .evaluation.perplexity import language_modelling as language_modelling
from .hallucination.prone_layers import ProneLayers as ProneLayers
from .hallucination.prone_layers import find_prone_layers as find_prone_layers
from .metrics.bootstrap import bootstrap_interval as bootstrap_interval
from .metrics.calibration import accuracy_at as accuracy_at
from .metrics.calibration import accuracy_coverage_curve as accuracy_coverage_curve
from .metrics.calibration import auroc as auroc
from .metrics.calibration import brier as brier
from .metrics.calibration import brier_skill as brier_skill
from .metrics.calibration import coverage_at as coverage_at
from .metrics.calibration import ece as ece
from .metrics.calibration import reliability as reliability
from .metrics.litcab import acc_at_litcab as acc_at_litcab
from .metrics.litcab import cov_at_litcab as cov_at_litcab
from .metrics.litcab import ece_litcab as ece_litcab
from .metrics.summary import summarise as summarise
from .models.batches import token_stream as token_stream
from .models.loading import load_model as load_model
from .models.loading import load_tokenizer as load_tokenizer
from .scores.choice import choose_layers as choose_layers
from .scores.layer_scores import LayerScores as LayerScores
from .scores.layer_scores import score_layers as score_layers
from .surgery.certificate import verify as verify
from .surgery.pruned_checkpoints import save_pruned as save_pruned
from .surgery.pruning import prune as prune
