"""What runs next, what it costs and what is let in: pure functions of (state, now, costs).

No clock, device, asyncio or I/O inside: the API process, the worker and the simulator run the same code.
"""
