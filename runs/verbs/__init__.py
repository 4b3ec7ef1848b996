"""The verbs of the command ``focusgym``, one module each; nothing imports them."""
