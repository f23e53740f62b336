"""The command line: one file per verb in ``racksort.commands``; the only package that joins api and ensemble."""
