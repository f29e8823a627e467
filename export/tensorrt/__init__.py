"""Compiled engines: a bundle's ONNX graphs made ready for NVIDIA GPUs by TensorRT or TensorRT-RTX. Needs no torch."""
