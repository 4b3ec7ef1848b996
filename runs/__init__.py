"""The verbs of the command ``focusgym``, one module each."""

if __name__ == "runs":  # pragma: no cover
    raise ImportError(
        "./runs is the package focusgym.runs: run `pip install -e .`, then `import focusgym.runs`"
    )
