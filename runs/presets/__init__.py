"""Options by name: those of the papers for each data set, and of the embedded one."""
