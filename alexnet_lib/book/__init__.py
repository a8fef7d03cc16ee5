"""What the notebooks share: how a chapter begins and ends, figures, the drawing of the network, the program
that they run in several processes. Nothing imports it but them, the command line and the tests."""
