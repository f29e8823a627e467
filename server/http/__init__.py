"""What clients see: routes, requests checked against the model, replies and errors."""
