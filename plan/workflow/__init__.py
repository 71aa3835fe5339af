"""The cheapest models and tiers for a workflow (JellyBean)."""
