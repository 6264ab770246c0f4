"""What `degrep` does for people with photographs: folders of files, maps drawn, the page in a
browser."""
