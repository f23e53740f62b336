"""The methods the ensemble has to be compared with, one file each."""
