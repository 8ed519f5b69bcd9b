"""The machine a run stands on: device, processes, weights files, ONNX sessions."""
