"""Objects of our kinds that are wrong in one place each, and what a real API server answers to them."""
