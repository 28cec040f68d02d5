"""Starting runs: processes on this machine, and the files that start them on clusters."""
