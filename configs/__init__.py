"""Settings files, complete and commented: quickstart.yaml, quora.yaml, bulk.yaml."""
