"""What the pages of ``replay`` are made of in tests."""

ROWS = (81, 90, 99)
NASTY = '</script><img src=x onerror="document.title=1"> & <b>.mp4'
TEXTS = (
    "h1, h2, h3, p:not(.hidden), button, dt, dd, text, small, figcaption, td, th, a, output, "
    ".legend span, .reason, .name, .class, .share, .scale span"
)
DATA = r'<script type="application/json" id="data">(.*?)</script>'
PER_GMAC = {"GMACs": 1, "MMACs": 10**3, "kMACs": 10**6}
