"""The lab: real kernels on both sides of the HAG, in network namespaces of this machine."""
