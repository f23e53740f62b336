"""The models' side: tensor contract, ranking step, data, training, export, evaluation and the embedded runtime."""
