"""The embedded Triton: the server that the nvidia-pytriton wheel carries, started on a repository of releases."""
