"""Pictures through a trained network: whole, in tiles or in windows (`restorer.Restorer`), and the
network exported to other programs."""
