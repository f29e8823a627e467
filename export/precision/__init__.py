"""Further precisions of a bundle's graphs: fp16 and int8, each measured against fp32 before it is written.

Needs the onnx package, and no torch.
"""
