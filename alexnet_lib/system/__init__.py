"""What any careful program needs: strict settings, a command line, files written whole, progress, processes, memory, threads.
It imports no other room."""
