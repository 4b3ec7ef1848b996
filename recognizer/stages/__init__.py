"""The supervised stages: encoders on full frames, f_L and f_C on patches, f_C on features."""
