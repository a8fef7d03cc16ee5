"""What the notebooks share: how a chapter begins and ends, figures, the drawing of the network. Nothing imports it but them."""
