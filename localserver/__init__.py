"""The daemon: takes photos from the browser extension over loopback HTTP and gives them back protected."""
