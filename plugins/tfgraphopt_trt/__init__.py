"""TensorRT for tfgraphopt: segmentation, layers, engines and the op that runs them."""
