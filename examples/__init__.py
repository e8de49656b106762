"""The sample corpus; its hand-written questions also show int8 what values a model meets."""
