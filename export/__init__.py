"""Models as ONNX files, quantised to int8 on request, and checked against the original on labelled pairs."""
