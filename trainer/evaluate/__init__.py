"""How good pictures are: `longjump eval`. Extractors make features of them, metrics compare features."""
