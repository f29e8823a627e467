"""The API process's side of the workers: queues, dispatch, and the life of worker processes."""
