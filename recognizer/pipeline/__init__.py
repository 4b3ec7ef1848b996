"""The assembled recognizers on pixels: glance, choose, crop, look, classify."""
