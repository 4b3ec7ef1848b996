"""What the verbs take from the command line and from presets; imports nothing heavy."""
