"""The worker process: owns the engine, turns jobs into encoded bytes."""
