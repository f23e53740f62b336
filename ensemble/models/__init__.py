"""The three models as torch modules: ids in, logits out, with their vocabularies and tables inside."""
