"""The core: samples in, frames out; no threads, clocks, files, devices or logging."""
