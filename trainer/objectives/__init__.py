"""One file a method: a pure target function over the one jump, and what is shared between them."""
