"""The pages that a person opens in a browser: files served as they are, and nothing of the API depends on them."""
