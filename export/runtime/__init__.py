"""How a bundle is read and run: manifest, noise, grids, sampler step, images, engines.

Needs numpy, pydantic, Pillow and an engine library; imports nothing else of longjump and never torch, so that
serving installs and starts on a machine without it. Sampling exists once, here: the server, `longjump
generate`, evaluation of a bundle and the check at export all run this code.
"""
