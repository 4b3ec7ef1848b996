"""The folders that runs leave behind: settings, versions, locks, files that appear whole."""
