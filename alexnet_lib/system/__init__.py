"""What any careful program needs: strict settings, files written whole, progress, processes, memory, threads. It imports no other room."""
