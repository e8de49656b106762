"""The int8 engine: quantisation, integer products, layers and attention."""
