"""What every room uses: errors told in a sentence, files written whole, threads, the console, pixel
values and units."""
