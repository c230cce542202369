"""How models are fitted: minibatches, early stopping, best weights, and `mbrl fit` of a model alone."""
