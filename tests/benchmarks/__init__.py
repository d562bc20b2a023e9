"""What the optimiser and its engines cost, measured side by side."""
