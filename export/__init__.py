"""Models as ONNX files: written, quantised to int8, and checked against the original on real pairs."""
