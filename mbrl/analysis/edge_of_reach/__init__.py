"""How much learning from rollouts rests on states that no rollout goes on from, and what critics make of these."""
