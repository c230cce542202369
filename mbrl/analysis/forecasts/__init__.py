"""What the analyses ask of a model, and what they compare its answers with."""
