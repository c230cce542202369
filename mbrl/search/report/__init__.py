"""Report of a search as pictures, tables and a page; most parts take any Optuna study."""

from mbrl.search.report.against import Against, against
from mbrl.search.report.model_check import ModelCheck, ParameterEffects, model_check, parameter_effects
from mbrl.search.report.search_history import SearchHistory, search_history
from mbrl.search.report.search_region import SearchRegion, search_region

__all__ = [
    "Against",
    "ModelCheck",
    "ParameterEffects",
    "SearchHistory",
    "SearchRegion",
    "against",
    "model_check",
    "parameter_effects",
    "search_history",
    "search_region",
]
