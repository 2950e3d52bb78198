"""Sources of few-shot tasks, and how episodes are drawn from them."""
