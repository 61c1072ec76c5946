"""Real-time streaming audio analysis."""
