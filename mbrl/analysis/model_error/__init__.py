"""Where, how far ahead and how confidently a model is wrong: one analysis a file, its result beside it."""
