"""Windows: several steps in a row of one episode, out of a buffer in which episodes lie interleaved."""
